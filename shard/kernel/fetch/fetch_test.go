package fetch

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
)

func testClient() *Client {
	c := New()
	c.Retry.Wait = time.Millisecond
	c.Idle = 2 * time.Second // a busy machine stands still for less
	return c
}

// A server that breaks each connection after a part of the file, stalls, and is
// busy, gives the file in the end, and no byte twice where it knows ranges.
func TestHTTPResumes(t *testing.T) {
	t.Parallel()
	data := make([]byte, 1<<20)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	for _, ranges := range []bool{true, false} {
		var sent, asked atomic.Int64 // a handler may outlive its request
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if !ranges {
				req.Header.Del("Range")
			}
			switch asked.Add(1) {
			case 1:
				w.WriteHeader(http.StatusServiceUnavailable)
			case 2: // breaks
				w.Header().Set("Content-Length", "1048576")
				n, _ := w.Write(data[:300_000])
				sent.Add(int64(n))
			case 3: // stalls
				from := 0
				if ranges {
					from = 300_000
					w.Header().Set("Content-Range", "bytes 300000-1048575/1048576")
					w.WriteHeader(http.StatusPartialContent)
				}
				n, _ := w.Write(data[from : from+100_000])
				sent.Add(int64(n))
				w.(http.Flusher).Flush()
				<-req.Context().Done()
			default:
				http.ServeContent(&countingResponse{w, &sent}, req, "x", time.Time{}, bytes.NewReader(data))
			}
		}))
		path := filepath.Join(t.TempDir(), "x")
		var last int64
		err := testClient().File(context.Background(), srv.URL, path, int64(len(data)), func(n int64) { last = n })
		srv.Close()
		got, _ := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, data) || last != int64(len(data)) {
			t.Errorf("ranges %v: %v, %d bytes, progress %d", ranges, err, len(got), last)
		}
		if asked.Load() != 4 || ranges && sent.Load() != int64(len(data)) {
			t.Errorf("ranges %v: %d requests, %d bytes sent", ranges, asked.Load(), sent.Load())
		}
	}
}

func TestHTTPGivesUp(t *testing.T) {
	t.Parallel()
	big := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range 100 {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	}))
	defer big.Close()
	var limit *bounded.LimitError
	path := filepath.Join(t.TempDir(), "x")
	if err := testClient().File(context.Background(), big.URL, path, 1000, nil); !errors.As(err, &limit) {
		t.Errorf("error %v, want a LimitError", err)
	}
	if st, err := os.Stat(path); err != nil || st.Size() > 1<<20 {
		t.Errorf("%v, %v", st.Size(), err)
	}
	if _, err := testClient().Get(context.Background(), big.URL, 1000); !errors.As(err, &limit) {
		t.Errorf("error %v, want a LimitError", err)
	}

	asked := 0
	gone := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { asked++; w.WriteHeader(http.StatusNotFound) }))
	defer gone.Close()
	if _, err := testClient().Get(context.Background(), strings.Replace(gone.URL, "http://", "http://user:secret@", 1), 10); !Absent(err) || asked != 1 || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v after %d requests", err, asked)
	}

	// An end of the context ends it at once.
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("interrupted")
	hang := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { cancel(why); <-req.Context().Done() }))
	defer hang.Close()
	if _, err := testClient().Get(ctx, hang.URL, 10); !errors.Is(err, why) || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %v, want the cause", err)
	}
}

func TestHTTPStaysEncrypted(t *testing.T) {
	t.Parallel()
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "x") }))
	defer plain.Close()
	tls := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	defer tls.Close()
	h := testClient()
	h.HTTP.Transport = tls.Client().Transport
	if _, err := h.Get(context.Background(), tls.URL, 10); err == nil || !strings.Contains(err.Error(), "redirect from https to http is refused") {
		t.Errorf("error %v", err)
	}
	if _, err := h.Get(context.Background(), plain.URL, 10); err != nil {
		t.Error(err)
	}
}

type countingResponse struct {
	http.ResponseWriter
	sent *atomic.Int64
}

func (c *countingResponse) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.sent.Add(int64(n))
	return n, err
}

// BenchmarkDownload fetches a kernel's 14 MB from a server on this machine.
//
//	go test -run '^$' -bench Download ./shard/kernel/fetch
func BenchmarkDownload(b *testing.B) {
	data := make([]byte, 14<<20)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		http.ServeContent(w, req, "x", time.Time{}, bytes.NewReader(data))
	}))
	defer srv.Close()
	path := filepath.Join(b.TempDir(), "x")
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if err := testClient().File(b.Context(), srv.URL, path, int64(len(data)), func(int64) {}); err != nil {
			b.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			b.Fatal(err)
		}
	}
}

func TestRetry(t *testing.T) {
	c := New()
	c.Retry = Retry{Wait: time.Microsecond, MaxWait: time.Microsecond, Attempts: 4}
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
		{"busy", &StatusError{Status: 503}, []int64{0}, 0, 4},
		{"too many", &StatusError{Status: 429}, []int64{0}, 0, 4},
		{"forbidden", &StatusError{Status: 403}, []int64{0}, 0, 1},
		{"gone", &StatusError{Status: 404}, []int64{0}, 0, 1},
		{"disk full", &LocalError{errors.New("no space left on device")}, []int64{0}, 0, 1},
	} {
		n := 0
		err := c.Retry.Do(t.Context(), retryable, func() (int64, error) {
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
	c.Retry.Wait = time.Hour
	err := c.Retry.Do(ctx, retryable, func() (int64, error) { n++; cancel(); return 0, io.EOF })
	if n != 1 || err == nil {
		t.Errorf("after the end: %d attempts, %v", n, err)
	}
}

// A server that says how long to wait is waited for, but not for hours.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "17": 17 * time.Second, "0": 0, "-5": 0, "soon": 0, "86400": 24 * time.Hour, "99999999999999999999": 0,
		"Fri, 02 Jan 2026 03:04:35 GMT": 30 * time.Second, "Fri, 02 Jan 2026 03:00:00 GMT": 0, "Sat, 03 Jan 2026 03:04:05 GMT": 24 * time.Hour,
	} {
		err := &StatusError{Status: 429, header: http.Header{"Retry-After": {value}}}
		if got := New().Retry.retryAfter(err, now); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		start, tries := time.Now(), 0
		err := New().Retry.Do(t.Context(), retryable, func() (int64, error) {
			if tries++; tries == 1 {
				return 0, &StatusError{Status: 429, header: http.Header{"Retry-After": {"17"}}}
			}
			return 0, nil
		})
		if took := time.Since(start); err != nil || took < 17*time.Second || took > 19*time.Second {
			t.Errorf("%v after %s", err, took)
		}
		start = time.Now()
		err = New().Retry.Do(t.Context(), retryable, func() (int64, error) {
			return 0, &StatusError{Status: 503, header: http.Header{"Retry-After": {"86400"}}}
		})
		if took := time.Since(start); err == nil || took < maxRetryAfter || took > 2*maxRetryAfter {
			t.Errorf("a server that is never there: %v after %s", err, took)
		}
	})
}
