# verdict: forbidden
import socket

socket.create_connection(("127.0.0.1", {port}), timeout=1)
