// Package gcstest runs fake-gcs-server for tests, and a proxy in front of it
// that does what networks do.
package gcstest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Server is a fake-gcs-server, a process of its own with its data in memory.
type Server struct {
	Host string // "127.0.0.1:port", as STORAGE_EMULATOR_HOST takes it
}

// Start builds the server, in the version that .github/tools pins, and runs it
// until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	for try := 1; ; try++ {
		s, err := start(t, bin)
		if err == nil {
			return s
		}
		if try == 5 { // another process may take the port first
			t.Fatalf("start fake-gcs-server: %v", err)
		}
	}
}

// build returns the server's program, which go builds where its cache has none.
var build = sync.OnceValues(func() (string, error) {
	mod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	dir := filepath.Join(filepath.Dir(strings.TrimSpace(string(mod))), ".github", "tools", "fake-gcs-server")
	cmd := exec.Command("go", "-C", dir, "tool", "-n", "fake-gcs-server")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("build fake-gcs-server: %w: %s", err, stderr.Bytes())
	}
	return strings.TrimSpace(string(out)), nil
})

func start(t testing.TB, bin string) (*Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	host := l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(host)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, bin, "-scheme", "http", "-host", "127.0.0.1", "-port", port, "-backend", "memory", "-public-host", host, "-log-level", "warn")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, err
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait() // it ends by a signal
	}()
	stop := func() { cancel(); <-exited }
	for deadline := time.Now().Add(20 * time.Second); ; {
		resp, err := http.Get("http://" + host + "/_internal/healthcheck")
		if err == nil {
			resp.Body.Close()
			t.Cleanup(stop)
			return &Server{Host: host}, nil
		}
		select {
		case <-exited:
			return nil, fmt.Errorf("it ended: %s", out.Bytes())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			stop()
			return nil, fmt.Errorf("no answer: %w: %s", err, out.Bytes())
		}
	}
}

// Bucket makes a bucket.
func (s *Server) Bucket(t testing.TB, name string) {
	t.Helper()
	s.call(t, http.MethodPost, "/storage/v1/b", []byte(fmt.Sprintf(`{"name":%q}`, name)))
}

// Put writes an object, as a new generation where there is one already.
func (s *Server) Put(t testing.TB, bucket, name string, data []byte) {
	t.Helper()
	s.call(t, http.MethodPost, "/upload/storage/v1/b/"+bucket+"/o?uploadType=media&name="+url.QueryEscape(name), data)
}

// Delete removes an object.
func (s *Server) Delete(t testing.TB, bucket, name string) {
	t.Helper()
	s.call(t, http.MethodDelete, "/storage/v1/b/"+bucket+"/o/"+url.PathEscape(name), nil)
}

func (s *Server) call(t testing.TB, method, path string, body []byte) {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+s.Host+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		b, _ := io.ReadAll(resp.Body)
		t.Fatalf("%s %s: %s: %s", method, path, resp.Status, b)
	}
}
