"""Messages of the gRPC protocols; `make proto` makes the Python files from the `.proto` files beside them."""
