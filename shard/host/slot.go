package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Slots are places of VMs among those of all calls on this machine that share a
// directory. The kernel gives them back when the process ends.
type Slots []*os.File

// slotPoll is how often AcquireSlots looks for a place.
const slotPoll = 50 * time.Millisecond

// AcquireSlots waits for one of all places, and takes up to want of them if they
// are free.
func AcquireSlots(ctx context.Context, dir string, want, all int) (Slots, error) {
	tick := time.NewTicker(slotPoll) // flock itself cannot be cancelled
	defer tick.Stop()
	for {
		var got Slots
		for i := range all {
			f, err := os.OpenFile(filepath.Join(dir, fmt.Sprintf("exec-%d.lock", i)), os.O_RDWR|os.O_CREATE, 0o666)
			if err == nil {
				if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
					got = append(got, f)
				} else {
					f.Close()
				}
			}
			if err != nil && !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
				got.Release()
				return nil, fmt.Errorf("take a place for a VM: %w", err)
			}
			if len(got) == want {
				break
			}
		}
		if len(got) > 0 {
			return got, nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// Release gives the places back.
func (s Slots) Release() {
	for _, f := range s {
		f.Close()
	}
}
