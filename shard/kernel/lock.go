package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const lockPoll = 50 * time.Millisecond

// Lock takes the named lock of the cache, among goroutines and processes, and
// waits for it as long as ctx lives. The kernel drops it when the process dies.
// Lock files stay: removing one that another process waits for would let two
// in.
func (c *Cache) Lock(ctx context.Context, name string) (unlock func(), err error) {
	path := filepath.Join(c.dir, "locks", name+".lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, fmt.Errorf("lock cache: %w", err)
	}
	tick := time.NewTicker(lockPoll) // flock itself cannot be cancelled
	defer tick.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock cache %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("wait for another process to release %s: %w", path, context.Cause(ctx))
		case <-tick.C:
		}
	}
}
