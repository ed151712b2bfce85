//go:build !amd64

package qemu

// TSC is 0, not known: there is no such counter, or QEMU does not take it from
// the host.
func TSC() int { return 0 }
