"""What a command writes, as the remote command servers send it."""

import subprocess


def output(command, encoding):
    process = subprocess.Popen(
        command,
        shell=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    stdout, stderr = process.communicate()
    return (stdout + stderr).decode("utf-8").encode(encoding)
