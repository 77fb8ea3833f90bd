"""What every part of wherever agrees on: tensors, packages, errors, receipts, wire. No I/O."""
