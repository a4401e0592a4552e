"""Make a bucket, unless it is there: python bucket.py NAME."""

from __future__ import annotations

import contextlib
import sys

import boto3  # type: ignore[import-untyped]

client = boto3.client("s3")
with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
    client.create_bucket(Bucket=sys.argv[1])
client.head_bucket(Bucket=sys.argv[1])
