package carrier

import "golang.org/x/sys/unix"

const ipv4Source = unix.IP_SENDSRCADDR
