# verdict: crashed
# cpu: 10
import zlib

packed = zlib.compress(bytes(1 << 24), 1)
unpacked = [zlib.decompress(packed) for _ in range(1000)]
