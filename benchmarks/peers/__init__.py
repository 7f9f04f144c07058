"""The programs that mnistctl is compared with, each written from its description."""
