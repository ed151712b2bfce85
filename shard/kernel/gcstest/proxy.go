package gcstest

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Request is one that a client makes of the proxy.
type Request struct {
	Object string // "bucket/name" whose bytes are asked for, "" for a listing
	Query  map[string][]string
	Header http.Header
	N      int // of requests for this object, or of listings: 1, 2, 3...
}

// Fault is what befalls the answer to a request. The zero value is none.
type Fault struct {
	Status  int    // answer this instead
	Body    string // with Status
	Cut     bool   // break the connection after At bytes of the body
	Stall   bool   // send nothing more after At bytes, until the client gives up
	Corrupt bool   // change byte At of the body
	Latest  bool   // send the newest generation, whichever was asked for
	At      int64
}

// Proxy stands in front of a Server.
type Proxy struct {
	Host string

	mu       sync.Mutex
	counts   map[string]int
	received map[string]int64
}

// Proxy starts a proxy whose answers fault decides about. It lives as long as
// the test.
func (s *Server) Proxy(t testing.TB, fault func(Request) Fault) *Proxy {
	p := &Proxy{counts: map[string]int{}, received: map[string]int64{}}
	// Ends what stalls before the test's server waits for it.
	ctx, cancel := context.WithCancel(context.Background())
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.serve(ctx, s.Host, w, r, fault)
	}))
	t.Cleanup(func() { cancel(); srv.Close() })
	p.Host = strings.TrimPrefix(srv.URL, "http://")
	return p
}

// Sent returns how many bytes of objects went through, and in how many answers.
func (p *Proxy) Sent() (bytes int64, answers int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.received {
		bytes += n
	}
	for name, n := range p.counts {
		if name != "" {
			answers += n
		}
	}
	return bytes, answers
}

func (p *Proxy) serve(ctx context.Context, host string, w http.ResponseWriter, r *http.Request, fault func(Request) Fault) {
	req := Request{Query: r.URL.Query(), Header: r.Header}
	if !strings.HasPrefix(r.URL.Path, "/storage/v1/") {
		req.Object = strings.TrimPrefix(r.URL.Path, "/")
	}
	p.mu.Lock()
	p.counts[req.Object]++
	req.N = p.counts[req.Object]
	p.mu.Unlock()

	f := fault(req)
	if f.Status != 0 {
		w.WriteHeader(f.Status)
		_, _ = io.WriteString(w, f.Body)
		return
	}
	u := *r.URL
	u.Scheme, u.Host = "http", host
	if f.Latest {
		q := u.Query()
		q.Del("generation")
		u.RawQuery = q.Encode()
	}
	out, err := http.NewRequestWithContext(r.Context(), r.Method, u.String(), r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	out.Header = r.Header.Clone()
	resp, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	for k, v := range resp.Header {
		w.Header()[k] = v
	}
	if resp.ContentLength >= 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(resp.ContentLength, 10))
	}
	w.WriteHeader(resp.StatusCode)
	var done int64
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if req.Object != "" {
			p.received[req.Object] += done
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := resp.Body.Read(buf)
		b := buf[:n]
		if at := f.At - done; f.Corrupt && at >= 0 && at < int64(n) {
			b[at] ^= 0x40
		}
		if (f.Cut || f.Stall) && done+int64(n) >= f.At {
			b = b[:f.At-done]
			err = io.ErrUnexpectedEOF
		}
		m, werr := w.Write(b)
		done += int64(m)
		if werr != nil {
			return
		}
		switch {
		case f.Stall && err != nil && err != io.EOF:
			w.(http.Flusher).Flush()
			select {
			case <-ctx.Done():
			case <-r.Context().Done():
			}
			panic(http.ErrAbortHandler)
		case err == io.EOF:
			return
		case err != nil:
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler) // closes the connection in the middle
		}
	}
}
