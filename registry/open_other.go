//go:build !unix

package registry

// nonBlock is for named pipes, which do not exist as files here.
const nonBlock = 0
