package gcs

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/storage"
	"google.golang.org/api/googleapi"
)

// retry says how often and how patiently a request is made again.
type retry struct {
	first, max time.Duration // wait after the first failure; it doubles up to max
	attempts   int           // in a row that bring nothing
}

// minProgress is what an attempt must bring, in bytes, to count as one that gets on.
// A server that hands out a few bytes and hangs up must not keep a run forever.
const minProgress = 64 << 10

// do calls try until it returns no error, or one that would come again. try
// returns how many bytes it brought.
func (r retry) do(ctx context.Context, try func() (int64, error)) error {
	wait, failed := r.first, 0
	for {
		n, err := try()
		if err == nil || ctx.Err() != nil || !retryable(err) {
			return err
		}
		if n >= minProgress {
			wait, failed = r.first, 0
		}
		if failed++; failed >= r.attempts {
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
		wait = min(2*wait, r.max)
	}
}

// retryable says whether asking again may help. A server's answer tells by its
// status; everything else that can go wrong on a network may.
func retryable(err error) bool {
	var api *googleapi.Error
	var token *auth.Error
	var local *localError
	var changed *changedError
	switch {
	case errors.As(err, &local), errors.As(err, &changed), errors.Is(err, storage.ErrObjectNotExist), errors.Is(err, storage.ErrBucketNotExist):
		return false
	case errors.As(err, &api):
		return api.Code == http.StatusRequestTimeout || api.Code == http.StatusTooManyRequests || api.Code >= 500
	case errors.As(err, &token):
		return token.Temporary()
	}
	return true
}
