package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/kerneltest"
)

// fakeCacheService is GitHub's cache service, version 2, and the store behind it.
type fakeCacheService struct {
	*httptest.Server
	// answer, if set, may answer a request: a method's name, or "GET" or "PUT".
	answer func(what string, w http.ResponseWriter) bool

	mu      sync.Mutex
	entries map[string][]byte // by key, final ones
	pending map[string][]byte
	blocks  map[string][]byte
	asked   map[string]int
}

func newCacheService(t *testing.T) *fakeCacheService {
	f := &fakeCacheService{entries: map[string][]byte{}, pending: map[string][]byte{}, blocks: map[string][]byte{}, asked: map[string]int{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeCacheService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	what := r.Method
	if method, ok := strings.CutPrefix(r.URL.Path, "/twirp/github.actions.results.api.v1.CacheService/"); ok {
		what = method
	}
	f.asked[what]++
	if f.answer != nil && f.answer(what, w) {
		return
	}
	var ask struct {
		Key       string `json:"key"`
		SizeBytes int64  `json:"size_bytes"`
	}
	reply := map[string]any{"ok": true}
	blob := strings.TrimPrefix(r.URL.Path, "/blob/")
	switch what {
	case "GET":
		_, _ = w.Write(f.entries[blob])
		return
	case "PUT":
		w.Header().Set("x-ms-request-id", "1")
		switch r.URL.Query().Get("comp") {
		case "block":
			f.blocks[blob+r.URL.Query().Get("blockid")] = body
		case "blocklist":
			var list struct{ Latest []string }
			_ = xml.Unmarshal(body, &list)
			f.pending[blob] = nil
			for _, id := range list.Latest {
				f.pending[blob] = append(f.pending[blob], f.blocks[blob+id]...)
			}
		default:
			f.pending[blob] = body
		}
		w.WriteHeader(http.StatusCreated)
		return
	}
	if err := json.Unmarshal(body, &ask); err != nil || !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
		http.Error(w, "bad", http.StatusBadRequest)
		return
	}
	have, ok := f.entries[ask.Key]
	switch what {
	case "GetCacheEntryDownloadURL":
		reply["ok"] = ok
		if ok {
			reply["matched_key"], reply["signed_download_url"] = ask.Key, f.URL+"/blob/"+ask.Key+"?sig=secret"
		}
	case "CreateCacheEntry":
		if ok {
			w.WriteHeader(http.StatusConflict)
			reply = map[string]any{"code": "already_exists", "msg": "cache entry with the same key exists"}
		}
		reply["signed_upload_url"] = f.URL + "/blob/" + ask.Key + "?sig=secret"
	case "FinalizeCacheEntryUpload":
		reply["ok"] = int64(len(f.pending[ask.Key])) == ask.SizeBytes && len(have) == 0
		f.entries[ask.Key] = f.pending[ask.Key]
	}
	_ = json.NewEncoder(w).Encode(reply)
}

// token is one of the shape that GitHub gives to its actions.
func cacheToken() string {
	part := func(v any) string {
		b, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(b)
	}
	return part(map[string]any{"alg": "HS256"}) + "." + part(map[string]any{
		"ac": `[{"Scope":"refs/heads/main","Permission":3}]`, "nbf": time.Now().Add(-time.Hour).Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}) + ".x"
}

// cacheStep is a step that has a service.
func cacheStep(t *testing.T, url string, in inputs) (s *actionStep, stdout, stderr *bytes.Buffer) {
	t.Helper()
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	env := map[string]string{"ACTIONS_RUNTIME_TOKEN": cacheToken(), "ACTIONS_RESULTS_URL": url + "/", "ACTIONS_CACHE_SERVICE_V2": "True"}
	c := &command{stdout: stdout, stderr: stderr, getenv: func(name string) string { return env[name] }}
	return &actionStep{c: c, in: in, names: actionNames{dir: t.TempDir()}}, stdout, stderr
}

// fillKernel puts a kernel into a cache.
func fillKernel(t *testing.T, c *kernel.Cache, digest string, more int) *kernel.Image {
	t.Helper()
	im, err := c.Open(t.Context(), kernel.Ref{Digest: digest}, func(_ context.Context, dir string) (kernel.Contents, error) {
		pkg := make([]byte, more)
		rand.NewChaCha8([32]byte{}).Read(pkg) //nolint:errcheck // it never fails
		imagetest.WriteFile(t, filepath.Join(dir, "0.deb"), pkg)
		imagetest.WriteFile(t, filepath.Join(dir, kernel.KernelFile), imagetest.Vmlinuz(t, "6.1.0"))
		return kernel.Contents{Modules: "6.1.0"}, nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// Kernels that one job saves another restores, byte by byte; none is uploaded
// twice.
func TestKernelsAreSavedOnce(t *testing.T) {
	f := newCacheService(t)
	digests := []string{"sha256:" + kerneltest.Sum([]byte("a")), "sha256:" + kerneltest.Sum([]byte("b"))}
	for i, want := range []string{"2 of 2 kernels saved", "0 of 2 kernels saved"} {
		s, stdout, stderr := cacheStep(t, f.URL, nil)
		s.names.shard = shardChoice{shard: i + 1, shards: 9}
		c, err := s.c.cacheIn(s.names.cacheDir())
		if err != nil {
			t.Fatal(err)
		}
		for j, d := range digests {
			fillKernel(t, c, d, j*3<<20) // the second one comes in blocks
		}
		if err := saveKernels(t.Context(), s); err != nil || !strings.Contains(stdout.String(), want) || stderr.Len() > 0 {
			t.Errorf("%q, %q, %v, want %q", stdout, stderr, err, want)
		}
	}
	if f.asked["FinalizeCacheEntryUpload"] != 2 || len(f.entries) != 2 {
		t.Errorf("%v, %d entries", f.asked, len(f.entries))
	}

	s, _, stderr := cacheStep(t, f.URL, nil)
	k, err := s.kernelService()
	if err != nil {
		t.Fatal(err)
	}
	n, err := k.forEach(t.Context(), append(digests, "sha256:"+kerneltest.Sum([]byte("none"))), (*kernelService).restore)
	if n != 2 || err != nil || stderr.Len() > 0 {
		t.Fatalf("%d, %v, %q", n, err, stderr)
	}
	want := fillKernel(t, kerneltest.NewCache(t), digests[1], 3<<20)
	im, err := k.kernels.Open(t.Context(), kernel.Ref{Digest: digests[1]}, func(context.Context, string) (kernel.Contents, error) {
		return kernel.Contents{}, fmt.Errorf("it is not there")
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{kernel.KernelFile, "0.deb"} {
		a, errA := os.ReadFile(filepath.Join(filepath.Dir(want.Kernel), name))
		b, errB := os.ReadFile(filepath.Join(filepath.Dir(im.Kernel), name))
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%s differs: %v, %v", name, errA, errB)
		}
	}
	if !im.HasModules() || im.Info.Version != "6.1.0" {
		t.Errorf("%+v", im)
	}
}

// Whatever the service does costs a line, and the kernels that it does not give
// come from elsewhere.
func TestCacheServiceFails(t *testing.T) {
	good, other := "sha256:"+kerneltest.Sum([]byte("good")), "sha256:"+kerneltest.Sum([]byte("other"))
	key := func(digest string) string {
		name, err := kernel.PackName(digest)
		if err != nil {
			t.Fatal(err)
		}
		return "bpf-kernel-check-" + name
	}
	c := kerneltest.NewCache(t)
	fillKernel(t, c, good, 1<<20)
	var packed bytes.Buffer
	if err := c.Pack(good, &packed); err != nil {
		t.Fatal(err)
	}
	status := func(on string, code int) func(string, http.ResponseWriter) bool {
		return func(what string, w http.ResponseWriter) bool {
			if what == on {
				w.WriteHeader(code)
			}
			return what == on
		}
	}
	bent := bytes.Clone(packed.Bytes())
	bent[bytes.LastIndex(bent, []byte("6.1.0"))]++ // in the image, which is not compressed
	for name, tt := range map[string]struct {
		entry  []byte
		answer func(string, http.ResponseWriter) bool
		err    string
		warn   string
	}{
		"good":              {entry: packed.Bytes()},
		"error 500":         {entry: packed.Bytes(), answer: status("GetCacheEntryDownloadURL", 500), err: "500"},
		"no JSON":           {entry: packed.Bytes(), answer: func(_ string, w http.ResponseWriter) bool { fmt.Fprint(w, "<html>"); return true }, err: "invalid character"},
		"no store":          {entry: packed.Bytes(), answer: status("GET", 500), err: "deadline exceeded"},
		"forbidden":         {entry: packed.Bytes(), answer: status("GET", 404), err: "404"},
		"empty":             {entry: nil, warn: "is no good"},
		"no archive":        {entry: []byte(strings.Repeat("x", 2000)), warn: "is no good"},
		"cut":               {entry: packed.Bytes()[:packed.Len()/2], warn: "is no good"},
		"cut at a file":     {entry: packed.Bytes()[:1024], warn: "is missing"},
		"too long":          {entry: append(bytes.Clone(packed.Bytes()[:packed.Len()-1024]), imagetest.Tarball(t, imagetest.Member{Name: key(good)[len("bpf-kernel-check-"):] + "/derived-modules-x", Data: strings.Repeat("x", 4<<20)})...), warn: "unexpected EOF"},
		"another image":     {entry: bent, warn: "vmlinuz"},
		"another kernel":    {entry: bytes.ReplaceAll(packed.Bytes(), []byte(good[7:]), []byte(other[7:])), warn: "is no good"},
		"a way out":         {entry: imagetest.Tarball(t, imagetest.Member{Name: "../../x", Data: "x"}), warn: "is no good"},
		"a saved VM":        {entry: append(bytes.Clone(packed.Bytes()[:packed.Len()-1024]), imagetest.Tarball(t, imagetest.Member{Name: key(good)[len("bpf-kernel-check-"):] + "/derived-vm-1", Data: "x"})...), warn: "is no file of it"},
		"another's vmlinux": {entry: append(bytes.Clone(packed.Bytes()[:packed.Len()-1024]), imagetest.Tarball(t, imagetest.Member{Name: key(good)[len("bpf-kernel-check-"):] + "/vmlinux.zst", Data: "x"})...), warn: "is no file of it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newCacheService(t)
			f.entries[key(good)], f.answer = tt.entry, tt.answer
			s, _, stderr := cacheStep(t, f.URL, nil)
			k, err := s.kernelService()
			if err != nil {
				t.Fatal(err)
			}
			k.max = 4 << 20
			if tt.err == "deadline exceeded" {
				k.each = 300 * time.Millisecond // which the store's client spends on asking again
			}
			n, err := k.forEach(t.Context(), []string{good}, (*kernelService).restore)
			if bad := tt.err != "" || tt.warn != ""; (n == 1) == bad {
				t.Errorf("restored %d", n)
			}
			if tt.err == "" && err != nil || !strings.Contains(errText(err), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			if tt.warn == "" && stderr.Len() > 0 || !strings.Contains(stderr.String(), tt.warn) || strings.Contains(stderr.String(), "secret") {
				t.Errorf("warned %q, want %q", stderr, tt.warn)
			}
			if left, err := os.ReadDir(filepath.Join(k.kernels.Dir(), "kernels-2")); err != nil || len(left) != int(n) {
				t.Errorf("the cache has %v, %v", left, err)
			}
		})
	}
	// Saving, to a service that fails or that was not made by GitHub.
	for name, answer := range map[string]func(string, http.ResponseWriter) bool{
		"read-only": status("CreateCacheEntry", 403),
		"no name":   status("PUT", 201), // without x-ms-request-id
		"not final": status("FinalizeCacheEntryUpload", 500),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newCacheService(t)
			f.answer = answer
			s, stdout, stderr := cacheStep(t, f.URL, nil)
			c, err := s.c.cacheIn(s.names.cacheDir())
			if err != nil {
				t.Fatal(err)
			}
			fillKernel(t, c, good, 0)
			if err := saveKernels(t.Context(), s); err != nil || stdout.String() != "0 of 1 kernel saved in the cache\n" || strings.Count(stderr.String(), "\n") != 1 || strings.Contains(stderr.String(), "secret") {
				t.Errorf("%q, %q, %v", stdout, stderr, err)
			}
			if left, err := os.ReadDir(filepath.Join(c.Dir(), "tmp")); err != nil || len(left) > 0 {
				t.Errorf("left %v, %v", left, err)
			}
		})
	}
}

// Without a service, a job goes on with one warning.
func TestNoCacheService(t *testing.T) {
	for _, missing := range []string{"ACTIONS_RUNTIME_TOKEN", "ACTIONS_RESULTS_URL"} {
		s, stdout, stderr := cacheStep(t, "http://127.0.0.1:1", nil)
		getenv := s.c.getenv
		s.c.getenv = func(name string) string {
			if name == missing {
				return ""
			}
			return getenv(name)
		}
		for _, step := range []func(context.Context, *actionStep) error{restoreKernels, saveKernels} {
			stdout.Reset()
			stderr.Reset()
			if err := step(t.Context(), s); err != nil || !strings.HasPrefix(stdout.String(), "0 of 0 kernels") || strings.Count(stderr.String(), "this runner has no cache service\n") != 1 {
				t.Errorf("%q, %q, %v", stdout, stderr, err)
			}
		}
	}
}

// Without a plan, the kernels to restore are those that run will list for this
// shard.
func TestKernelsOfAShardWithoutAPlan(t *testing.T) {
	dir := t.TempDir()
	for i := range 7 {
		version := fmt.Sprintf("6.%d.0", i)
		imagetest.WriteFile(t, filepath.Join(dir, "vmlinuz-"+version), imagetest.Vmlinuz(t, version))
	}
	own := func(shard, shards int) []string {
		s, _, stderr := cacheStep(t, "", inputs{"kernels": dir, "arch": "amd64", "kernel": "!*6.6.0*", "jobs": "3"})
		s.names.shard = shardChoice{shard: shard, shards: shards}
		if _, err := s.c.cacheIn(s.names.cacheDir()); err != nil {
			t.Fatal(err)
		}
		got, err := s.ownDigests(t.Context())
		if err != nil || stderr.Len() > 0 {
			t.Fatalf("%v, %q", err, stderr)
		}
		return got
	}
	all := own(0, 0)
	parts := slices.Concat(own(1, 2), own(2, 2))
	slices.Sort(all)
	slices.Sort(parts)
	if len(all) != 6 || cmp.Diff(all, parts) != "" {
		t.Errorf("%q, in parts %q", all, parts)
	}
}
