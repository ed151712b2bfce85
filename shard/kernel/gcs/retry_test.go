package gcs

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"cloud.google.com/go/storage"
	"google.golang.org/api/googleapi"
)

func TestRetry(t *testing.T) {
	r := retry{first: time.Microsecond, max: time.Microsecond, attempts: 4}
	for _, tc := range []struct {
		name  string
		err   error
		gains []int64 // of the attempts, the last one's over and over
		stop  int     // attempts after which it works; 0: never
		want  int     // attempts
	}{
		{"works", nil, []int64{0}, 1, 1},
		{"works at last", io.ErrUnexpectedEOF, []int64{0}, 4, 4},
		{"never works", io.ErrUnexpectedEOF, []int64{0}, 0, 4},
		{"gets on", io.ErrUnexpectedEOF, []int64{minProgress, minProgress, minProgress, minProgress, minProgress, minProgress}, 20, 20},
		{"gets on, then not", io.ErrUnexpectedEOF, []int64{0, 0, 0, minProgress, 0}, 0, 7},
		{"a few bytes are no gain", io.ErrUnexpectedEOF, []int64{minProgress - 1}, 0, 4},
		{"busy", &googleapi.Error{Code: 503}, []int64{0}, 0, 4},
		{"too many", &googleapi.Error{Code: 429}, []int64{0}, 0, 4},
		{"forbidden", &googleapi.Error{Code: 403}, []int64{0}, 0, 1},
		{"gone", storage.ErrObjectNotExist, []int64{0}, 0, 1},
		{"changed", &changedError{"7"}, []int64{0}, 0, 1},
		{"disk full", &localError{errors.New("no space left on device")}, []int64{0}, 0, 1},
	} {
		n := 0
		err := r.do(t.Context(), func() (int64, error) {
			n++
			if n == tc.stop {
				return 0, nil
			}
			return tc.gains[min(n, len(tc.gains))-1], tc.err
		})
		if n != tc.want || (err == nil) != (tc.stop > 0) || err != nil && !errors.Is(err, tc.err) {
			t.Errorf("%s: %d attempts and %v, want %d", tc.name, n, err, tc.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	err := retry{first: time.Hour, max: time.Hour, attempts: 9}.do(ctx, func() (int64, error) { n++; cancel(); return 0, io.EOF })
	if n != 1 || err == nil {
		t.Errorf("after the end: %d attempts, %v", n, err)
	}
}
