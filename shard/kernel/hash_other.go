//go:build !linux

package kernel

import (
	"syscall"
	"time"
)

func changeTime(*syscall.Stat_t) time.Time { return time.Time{} }
