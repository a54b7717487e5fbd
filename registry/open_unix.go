//go:build unix

package registry

import "syscall"

// nonBlock keeps the opening of a named pipe from waiting for its other end.
const nonBlock = syscall.O_NONBLOCK
