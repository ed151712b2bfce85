//go:build !amd64

package qemu

import (
	"errors"
	"time"
)

// timeLoop exists for x86-64 only: without proof KVM is not used.
func timeLoop(int) (time.Duration, error) {
	return 0, errors.New("this version can prove KVM on x86-64 only")
}
