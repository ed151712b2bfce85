package fetch

import (
	"context"
	"math/rand/v2"
	"time"
)

// minProgress is what an attempt must bring, in bytes, to count as one that gets
// on. A server that hands out a few bytes and hangs up must not keep a run
// forever.
const minProgress = 64 << 10

// Retry says how often and how patiently something is tried again.
type Retry struct {
	Wait, MaxWait time.Duration // after the first failure; it doubles up to MaxWait
	Attempts      int           // in a row that bring nothing
}

// Do calls try until it returns no error, or one that would come again. try
// returns how many bytes it brought.
func (r Retry) Do(ctx context.Context, retryable func(error) bool, try func() (int64, error)) error {
	wait, failed := r.Wait, 0
	for {
		n, err := try()
		if err == nil || ctx.Err() != nil {
			return err
		}
		if n >= minProgress {
			wait, failed = r.Wait, 0
		}
		if failed++; failed >= r.Attempts || !retryable(err) {
			return err
		}
		// Half of it by chance, so that a matrix of jobs does not come back all
		// at once.
		t := time.NewTimer(wait/2 + rand.N(wait/2+1))
		select {
		case <-ctx.Done():
			t.Stop()
			return err
		case <-t.C:
		}
		wait = min(2*wait, r.MaxWait)
	}
}
