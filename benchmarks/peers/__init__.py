"""What mnistctl is compared with, each written anew from its description."""
