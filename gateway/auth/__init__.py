"""Who a peer is and what it may do. Only `peercred.py` here reads the kernel; everything else is a plain function."""
