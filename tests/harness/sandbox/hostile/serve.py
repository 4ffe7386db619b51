# verdict: forbidden
import socket

server = socket.socket(socket.AF_UNIX)
server.bind("\0known")
server.listen()
