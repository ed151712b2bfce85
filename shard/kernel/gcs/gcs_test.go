package gcs

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/storage"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/api/googleapi"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/fetch"
	"github.com/elastic/bpf-kernel-check/shard/kernel/gcstest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/kerneltest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

// bucketAt is the source of a bucket that a host serves.
func bucketAt(t testing.TB, host, spec string, c *kernel.Cache) *source {
	t.Helper()
	s := kerneltest.Parse(t, spec, c, Parse).(*source)
	s.net = network{
		endpoint: "http://" + host + "/storage/v1/",
		creds:    func() (*auth.Credentials, error) { return nil, nil },
		idle:     300 * time.Millisecond,
		retry:    fetch.Retry{Wait: time.Millisecond, MaxWait: 10 * time.Millisecond, Attempts: 5},
		page:     100,
	}
	return s
}

// bigArchive is a full archive of about size bytes, in which no two stretches
// are alike.
func bigArchive(t testing.TB, version string, size int) []byte {
	t.Helper()
	pad := make([]byte, size)
	rand.New(rand.NewSource(int64(len(version) + size))).Read(pad)
	return imagetest.Compressed(t, image.Gzip, imagetest.Tarball(t,
		imagetest.Member{Name: "vmlinuz", Data: string(imagetest.Vmlinuz(t, version))},
		imagetest.Member{Name: "config", Data: "CONFIG_BPF=y\n"},
		imagetest.Member{Name: "lib/modules/" + version + "/kernel/big.ko", Data: string(pad)},
	))
}

func TestGCSLists(t *testing.T) {
	s := gcstest.Start(t)
	s.Bucket(t, "kernels")
	for name, data := range map[string][]byte{
		"amazonlinux2/5.10.102-99.473.amzn2.x86_64__0935484e__06f8afb1.tar.gz": imagetest.FullArchive(t, "5.10.102-99.473.amzn2.x86_64"),
		"fedora/5.11.12-300.fc34.aarch64__b52ee374.tar.xz":                     imagetest.FullArchive(t, "5.11.12"),
		"fedora/":                      nil,
		"fedora/SHA256SUMS":            []byte("not a kernel"),
		"fedora/deep/er/5.1.tar.gz":    []byte("too deep"),
		"mainline/bzImage-v5.13.4":     imagetest.Vmlinuz(t, "5.13.4"),
		"5.4.0__at-the-top.tar.gz":     imagetest.FullArchive(t, "5.4.0"),
		"fedora-old/5.8.1__x86.tar.gz": imagetest.FullArchive(t, "5.8.1"),
	} {
		s.Put(t, "kernels", name, data)
	}
	c := kerneltest.NewCache(t)
	var notes, warnings []string
	c.Note = func(m string) { notes = append(notes, m) }
	c.Warn = func(m string) { warnings = append(warnings, m) }
	src := bucketAt(t, s.Host, "gs://kernels", c)
	refs := kerneltest.List(t, src)
	want := []string{
		"amazonlinux2/5.10.102-99.473.amzn2.x86_64__0935484e__06f8afb1",
		"fedora-old/5.8.1__x86",
		"fedora/5.11.12-300.fc34.aarch64__b52ee374",
		"kernels/5.4.0__at-the-top",
		"mainline/mainline-v5.13.4",
	}
	if d := cmp.Diff(want, kerneltest.IDs(refs)); d != "" {
		t.Errorf("ids (-want +got):\n%s", d)
	}
	if r := refs[0]; r.Release != "5.10.102-99.473.amzn2.x86_64" || r.Arch != "amd64" || r.Size == 0 {
		t.Errorf("archive: %+v", r)
	}
	if r := refs[2]; r.Arch != "arm64" {
		t.Errorf("arm64 archive: %+v", r)
	}
	if r := refs[4]; r.Release != "5.13.4" {
		t.Errorf("mainline image: %+v", r)
	}
	if len(notes) != 1 || notes[0] != "gs://kernels: no Google credentials found, reading as anyone may" {
		t.Errorf("notes %q", notes)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], `2 objects are no kernels, such as "fedora/SHA256SUMS"`) {
		t.Errorf("warnings %q", warnings)
	}
	for spec, want := range map[string][]string{
		"gs://kernels/fedora":  {"fedora/5.11.12-300.fc34.aarch64__b52ee374"},
		"gs://kernels/fedora/": {"fedora/5.11.12-300.fc34.aarch64__b52ee374"},
		"gs://kernels/fedora/5.11.12-300.fc34.aarch64__b52ee374.tar.xz": {"fedora/5.11.12-300.fc34.aarch64__b52ee374"},
	} {
		c := kerneltest.NewCache(t)
		some := bucketAt(t, s.Host, spec, c)
		refs := kerneltest.List(t, some)
		if d := cmp.Diff(want, kerneltest.IDs(refs)); d != "" {
			t.Errorf("%s (-want +got):\n%s", spec, d)
		}
		if _, err := some.Open(t.Context(), refs[0]); err != nil {
			t.Error(err)
		}
	}
	for _, r := range refs {
		im, err := src.Open(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if im.HasModules() != (r.Distro != "mainline") {
			t.Errorf("%s: modules %v", r.ID(), im.HasModules())
		}
	}
	for spec, want := range map[string]string{
		"gs://kernels/nothing-here": "holds no kernels among its 0 objects: expected <distro>/",
		"gs://no-such-bucket":       "gs://no-such-bucket",
	} {
		_, err := bucketAt(t, s.Host, spec, c).List(t.Context())
		var usage *kernel.UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", spec, err)
		}
	}
}

// Pages are followed to the end, also when each of them breaks at first.
func TestGCSListsPages(t *testing.T) {
	s := gcstest.Start(t)
	s.Bucket(t, "many")
	data := imagetest.FullArchive(t, "6.1.0")
	for i := range 230 {
		s.Put(t, "many", fmt.Sprintf("d%d/6.1.%d.tar", i%12, i), data[:1000+i])
	}
	p := s.Proxy(t, func(r gcstest.Request) gcstest.Fault {
		switch r.N % 5 {
		case 1:
			return gcstest.Fault{Status: 503, Body: "busy"}
		case 2:
			return gcstest.Fault{Cut: true, At: 5000}
		case 3:
			return gcstest.Fault{Status: 429}
		case 4:
			return gcstest.Fault{Stall: true, At: 300}
		}
		return gcstest.Fault{}
	})
	refs := kerneltest.List(t, bucketAt(t, p.Host, "gs://many", kerneltest.NewCache(t)))
	if len(refs) != 230 {
		t.Errorf("%d kernels, want 230", len(refs))
	}
	digests := map[string]bool{}
	for _, r := range refs {
		digests[r.Digest] = true
	}
	if len(digests) != 230 {
		t.Errorf("%d digests, want one for each", len(digests))
	}
}

// Everything that a network does to a download is made good.
func TestGCSDownloadsThroughABadNetwork(t *testing.T) {
	s := gcstest.Start(t)
	s.Bucket(t, "bkt")
	faults := []struct {
		name  string
		fault func(n int) gcstest.Fault
		most  float64 // of the object's size, that is transferred at most
	}{
		{"cut", func(n int) gcstest.Fault { return gcstest.Fault{Cut: n <= 6, At: 200_000} }, 1.01},
		{"cut-at-once", func(n int) gcstest.Fault { return gcstest.Fault{Cut: n <= 4} }, 1.01},
		{"cut-before-the-end", func(n int) gcstest.Fault { return gcstest.Fault{Cut: n == 1, At: 1<<21 - 100} }, 1.01},
		{"stall", func(n int) gcstest.Fault { return gcstest.Fault{Stall: n <= 2, At: 300_000} }, 1.01},
		{"stall-at-once", func(n int) gcstest.Fault { return gcstest.Fault{Stall: n <= 2} }, 1.01},
		{"corrupt", func(n int) gcstest.Fault { return gcstest.Fault{Corrupt: n == 1, At: 70_000} }, 2.01},
		{"corrupt-after-a-cut", func(n int) gcstest.Fault {
			return gcstest.Fault{Cut: n == 1, Corrupt: n == 2, At: 70_000}
		}, 2.01},
		{"408", func(n int) gcstest.Fault { return status(408, n <= 3) }, 1.01},
		{"429", func(n int) gcstest.Fault { return status(429, n <= 3) }, 1.01},
		{"500", func(n int) gcstest.Fault { return status(500, n <= 3) }, 1.01},
		{"503-in-the-middle", func(n int) gcstest.Fault {
			if n == 2 {
				return status(503, true)
			}
			return gcstest.Fault{Cut: n == 1, At: 500_000}
		}, 1.01},
	}
	byName := map[string]func(int) gcstest.Fault{}
	whole := map[string]string{}
	for _, f := range faults {
		data := bigArchive(t, "6.1."+f.name, 2<<20)
		s.Put(t, "bkt", "d/6.1__"+f.name+".tar.gz", data)
		byName["bkt/d/6.1__"+f.name+".tar.gz"] = f.fault
		whole[f.name] = string(data)
	}
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			p := s.Proxy(t, func(r gcstest.Request) gcstest.Fault {
				if r.Object == "" {
					return gcstest.Fault{}
				}
				return byName[r.Object](r.N)
			})
			c := kerneltest.NewCache(t)
			var reported atomic.Int64
			c.Progress = func(_ kernel.Ref, done, total int64) { reported.Store(done) }
			src := bucketAt(t, p.Host, "gs://bkt/d/6.1__"+f.name+".tar.gz", c)
			ref := kerneltest.List(t, src)[0]
			im, err := src.Open(t.Context(), ref)
			if err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(filepath.Join(filepath.Dir(im.Kernel), archiveFile))
			if err != nil || string(got) != whole[f.name] {
				t.Errorf("%d bytes arrived, not the %d that were sent (%v)", len(got), len(whole[f.name]), err)
			}
			if n, answers := p.Sent(); float64(n) > f.most*float64(ref.Size) || answers < 2 {
				t.Errorf("%d bytes in %d answers for an object of %d: it did not resume", n, answers, ref.Size)
			}
			if reported.Load() != ref.Size {
				t.Errorf("progress ended at %d of %d", reported.Load(), ref.Size)
			}
			before, _ := p.Sent()
			if _, err := src.Open(t.Context(), ref); err != nil {
				t.Error(err)
			}
			if after, _ := p.Sent(); after != before {
				t.Errorf("opening it again fetched %d bytes", after-before)
			}
		})
	}
}

func status(code int, on bool) gcstest.Fault {
	if on {
		return gcstest.Fault{Status: code, Body: "<Error><Code>Busy</Code></Error>"}
	}
	return gcstest.Fault{}
}

// What stays broken is an error for that kernel alone, and leaves nothing
// behind.
func TestGCSGivesUp(t *testing.T) {
	s := gcstest.Start(t)
	s.Bucket(t, "bkt")
	faults := map[string]struct {
		fault gcstest.Fault
		want  string
	}{
		"corrupt":   {gcstest.Fault{Corrupt: true, At: 1000}, "as listed, 3 times: upload it again"},
		"busy":      {gcstest.Fault{Status: 503, Body: "try <b>later</b>\n::error::x"}, "HTTP 503: try <b>later</b> ::error::x"},
		"slow":      {gcstest.Fault{Cut: true, At: 10}, "EOF"},
		"stall":     {gcstest.Fault{Stall: true, At: 10}, "no byte came for 300ms"},
		"gone":      {gcstest.Fault{Status: 404}, "replaced or deleted after it was listed"},
		"forbidden": {gcstest.Fault{Status: 403, Body: "<Error><Details>x@y does not have storage.objects.get access</Details></Error>"}, `permission storage.objects.get on bucket "bkt" (HTTP 403)`},
		"not-ours":  {gcstest.Fault{Status: 400, Body: "what?"}, "HTTP 400: what?"},
		"good":      {},
	}
	data := bigArchive(t, "6.1.0", 1<<20)
	for name := range faults {
		s.Put(t, "bkt", "d/"+name+".tar.gz", data)
	}
	p := s.Proxy(t, func(r gcstest.Request) gcstest.Fault {
		name := strings.TrimSuffix(strings.TrimPrefix(r.Object, "bkt/d/"), ".tar.gz")
		return faults[name].fault
	})
	c := kerneltest.NewCache(t)
	src := bucketAt(t, p.Host, "gs://bkt", c)
	var wg sync.WaitGroup
	for _, ref := range kerneltest.List(t, src) {
		wg.Go(func() {
			_, err := src.Open(t.Context(), ref)
			want := faults[ref.Name].want
			switch {
			case want == "" && err != nil:
				t.Error(err)
			case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), ref.ID()) || strings.Contains(err.Error(), "\n")):
				t.Errorf("%s: error %v, want one line with %q", ref.Name, err, want)
			}
		})
	}
	wg.Wait()
	checkOnlyGood(t, c)
}

// checkOnlyGood sees to it that a cache holds one kernel and nothing half done.
func checkOnlyGood(t *testing.T, c *kernel.Cache) {
	t.Helper()
	kept, err := os.ReadDir(filepath.Join(c.Dir(), "kernels-2"))
	if err != nil || len(kept) != 1 {
		t.Errorf("the cache holds %d kernels (%v), want the good one", len(kept), err)
	}
	left, err := os.ReadDir(filepath.Join(c.Dir(), "tmp"))
	if err != nil || len(left) > 0 {
		t.Errorf("left in tmp: %v, %v", left, err)
	}
}

func TestGCSBucketThatChangesMeanwhile(t *testing.T) {
	t.Run("as Google answers", func(t *testing.T) { testChanges(t, false) })
	t.Run("with a server that knows no generations", func(t *testing.T) { testChanges(t, true) })
}

func testChanges(t *testing.T, latest bool) {
	s := gcstest.Start(t)
	s.Bucket(t, "bkt")
	data := bigArchive(t, "6.1.0", 1<<20)
	other := bytes.Clone(data)
	other[len(other)/2] ^= 1
	for _, name := range []string{"replaced", "replaced-half-way", "deleted", "good"} {
		s.Put(t, "bkt", "d/"+name+".tar.gz", data)
	}
	p := s.Proxy(t, func(r gcstest.Request) gcstest.Fault {
		if strings.Contains(r.Object, "half-way") {
			if r.N > 1 {
				s.Put(t, "bkt", "d/replaced-half-way.tar.gz", other)
			}
			return gcstest.Fault{Cut: r.N == 1, At: 100_000, Latest: latest}
		}
		return gcstest.Fault{Latest: latest && r.Object != ""}
	})
	c := kerneltest.NewCache(t)
	src := bucketAt(t, p.Host, "gs://bkt", c)
	refs := kerneltest.List(t, src)
	s.Put(t, "bkt", "d/replaced.tar.gz", other)
	s.Delete(t, "bkt", "d/deleted.tar.gz")
	s.Put(t, "bkt", "d/new.tar.gz", data)
	for _, ref := range refs {
		_, err := src.Open(t.Context(), ref)
		if ref.Name == "good" {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), "replaced or deleted after it was listed as generation") {
			t.Errorf("%s: error %v", ref.ID(), err)
		}
	}
	checkOnlyGood(t, c)
	again := map[string]string{}
	for _, ref := range kerneltest.List(t, src) {
		again[ref.Name] = ref.Digest
	}
	for _, ref := range refs {
		if d := again[ref.Name]; (d == ref.Digest) != (ref.Name == "good") {
			t.Errorf("%s: digest %s, then %q", ref.Name, ref.Digest, d)
		}
	}
	// The bytes are the same, the upload is another: it is fetched again.
	s.Put(t, "bkt", "d/good.tar.gz", data)
	for _, ref := range kerneltest.List(t, src) {
		if ref.Name == "good" && ref.Digest == again["good"] {
			t.Error("a new generation has the old digest")
		}
	}
}

// Composite objects have no MD5; either checksum has to find a change.
func TestDownloadChecks(t *testing.T) {
	sum := md5.Sum([]byte("kernel"))
	good := object{CRC32C: crc32.Checksum([]byte("kernel"), crc32.MakeTable(crc32.Castagnoli)), MD5: hex.EncodeToString(sum[:])}
	other := object{CRC32C: 1, MD5: strings.Repeat("0", 32)}
	for _, tc := range []struct {
		o    object
		want string
	}{
		{good, ""},
		{object{CRC32C: good.CRC32C}, ""},
		{object{CRC32C: other.CRC32C}, "CRC32C"},
		{object{CRC32C: other.CRC32C, MD5: good.MD5}, "CRC32C"},
		{object{CRC32C: good.CRC32C, MD5: other.MD5}, "MD5"},
	} {
		file := imagetest.WriteFile(t, filepath.Join(t.TempDir(), "f"), []byte("kernel"))
		if err := tc.o.check(file); (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: error %v, want %q", tc.o, err, tc.want)
		}
	}
}

func TestGCSHostileNames(t *testing.T) {
	s := gcstest.Start(t)
	s.Bucket(t, "bkt")
	data := imagetest.FullArchive(t, "6.1.0")
	names := []string{
		"../up.tar.gz", "d/../../etc.tar.gz", "d/..tar.gz", "/abs.tar.gz", "d/-rf.tar.gz", "d/a;b $(x).tar.gz",
		"d/::error::x.tar.gz", "d/<b>*md*</b>.tar.gz", "d/a\x1b[2J.tar.gz", "d/" + strings.Repeat("n", 300) + ".tar.gz",
		"d/good.tar.gz", "d/.tar.gz", "CON/a:b|c.tar.gz", "d/ü .tar.gz",
	}
	for _, name := range names {
		s.Put(t, "bkt", name, data)
	}
	parent := t.TempDir()
	c, err := kernel.NewCache(filepath.Join(parent, "cache"))
	if err != nil {
		t.Fatal(err)
	}
	src := bucketAt(t, s.Host, "gs://bkt", c)
	opened := 0
	for _, r := range kerneltest.List(t, src) {
		if !kerneltest.SafeID.MatchString(r.ID()) || len(r.Name) > kernel.MaxName {
			t.Errorf("id %q is not safe", r.ID())
		}
		if _, err := src.Open(t.Context(), r); err == nil {
			opened++
		} else if !strings.Contains(err.Error(), "rename it") || strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("%s: error %q", r.ID(), err)
		}
	}
	if opened != 6 {
		t.Errorf("%d kernels opened, want the 6 whose names are merely odd", opened)
	}
	if left, err := os.ReadDir(parent); err != nil || len(left) != 1 {
		t.Errorf("written beside the cache: %v, %v", left, err)
	}
}

// A plan comes from elsewhere, and its locators are not believed.
func TestGCSRefusesForgedRefs(t *testing.T) {
	s := gcstest.Start(t)
	s.Bucket(t, "bkt")
	s.Put(t, "bkt", "d/a.tar", imagetest.FullArchive(t, "6.1.0"))
	s.Put(t, "bkt", "d/z.tar", imagetest.FullArchive(t, "6.1.1"))
	src := bucketAt(t, s.Host, "gs://bkt", kerneltest.NewCache(t))
	refs := kerneltest.List(t, src)
	for _, locator := range []string{"", "{}", refs[1].Locator, strings.Replace(refs[0].Locator, "crc32c", "x", 1)} {
		r := refs[0]
		r.Locator = locator
		var bad *kernel.BadKernelError
		if _, err := src.Open(t.Context(), r); !errors.As(err, &bad) {
			t.Errorf("locator %q: %v, want a BadKernelError", locator, err)
		}
	}
	// The plan alone is enough, in a job that never listed.
	if _, err := bucketAt(t, s.Host, "gs://bkt", kerneltest.NewCache(t)).Open(t.Context(), refs[0]); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if _, err := bucketAt(t, s.Host, "gs://bkt", kerneltest.NewCache(t)).Open(ctx, refs[0]); err == nil || !strings.Contains(err.Error(), "enough") {
		t.Errorf("error %v, want the reason of the interruption", err)
	}
}

// The object that a source names is read without listing, and the project that
// pays goes with every request.
func TestGCSOneObject(t *testing.T) {
	s := gcstest.Start(t)
	s.Bucket(t, "bkt")
	s.Put(t, "bkt", "d/6.1.0.tar", imagetest.FullArchive(t, "6.1.0"))
	s.Put(t, "bkt", "d/dir.tar/6.1.1.tar", imagetest.FullArchive(t, "6.1.1"))
	var unpaid atomic.Int32
	p := s.Proxy(t, func(r gcstest.Request) gcstest.Fault {
		paid := r.Header.Get("X-Goog-User-Project")
		if q := r.Query["userProject"]; paid == "" && len(q) == 1 {
			paid = q[0]
		}
		if paid != "my-project" {
			unpaid.Add(1)
		}
		if r.Query["prefix"] != nil && r.Query["prefix"][0] == "d/6.1.0.tar" {
			return gcstest.Fault{Status: 403, Body: `{"error":{"code":403,"message":"no storage.objects.list access"}}`}
		}
		return gcstest.Fault{}
	})
	for spec, want := range map[string]string{
		"gs://bkt/d/6.1.0.tar,user-project=my-project": "d/6.1.0",
		"gs://bkt/d/dir.tar,user-project=my-project":   "dir.tar/6.1.1",
	} {
		src := bucketAt(t, p.Host, spec, kerneltest.NewCache(t))
		refs := kerneltest.List(t, src)
		if d := cmp.Diff([]string{want}, kerneltest.IDs(refs)); d != "" {
			t.Errorf("%s (-want +got):\n%s", spec, d)
		}
		if _, err := src.Open(t.Context(), refs[0]); err != nil {
			t.Error(err)
		}
	}
	if n := unpaid.Load(); n > 0 {
		t.Errorf("%d requests without the project", n)
	}
	_, err := bucketAt(t, p.Host, "gs://bkt/d/6.1.0.tar.gz", kerneltest.NewCache(t)).List(t.Context())
	if err == nil || !strings.Contains(err.Error(), "holds no kernels among its 0 objects") {
		t.Errorf("an object that is not there: %v", err)
	}
}

func TestGCSSpecs(t *testing.T) {
	for _, spec := range []string{"gs:", "gs://", "gs://a", "gs:/bucket", "gs://UPPER/x", "gs://b_/x", "gs:///x", "gs://bu cket", "gs://x,user-project=p"} {
		_, err := Parse(spec, strings.TrimPrefix(spec, "gs:"), "amd64", kerneltest.NewCache(t))
		var usage *kernel.UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), "gs://<bucket>") {
			t.Errorf("%q: %v", spec, err)
		}
	}
}

func FuzzGCSLocator(f *testing.F) {
	f.Add(object{Name: "fedora/5.11.tar.gz", Generation: 1700000000000000, Size: 7, CRC32C: 9, MD5: strings.Repeat("0a", 16)}.locator())
	f.Add(`{"object":"../../x","generation":1}`)
	f.Add(`{"object":"a","generation":1,"md5":"zz"}`)
	f.Fuzz(func(t *testing.T, s string) {
		o, err := parseLocator(s)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("error %q", err)
			}
			return
		}
		again, err := parseLocator(o.locator())
		if err != nil || again != o {
			t.Errorf("%+v became %+v, %v", o, again, err)
		}
		if o.digest("b") == o.digest("c") {
			t.Error("the digest does not name the bucket")
		}
	})
}

func FuzzGCSObjectName(f *testing.F) {
	for _, name := range []string{"fedora/5.11__x.tar.gz", "a/b/c.tar", "/x.tar", "../../x.tgz", "d/\n.tar", "p/vmlinuz-6.1", "p", "p/"} {
		f.Add(name, "p")
		f.Add("p/"+name, "p")
		f.Add(name, "")
	}
	f.Fuzz(func(t *testing.T, name, prefix string) {
		s := &source{bucket: "bucket", prefix: strings.Trim(prefix, "/")}
		r, ok := s.ref(object{Name: name, Generation: 1})
		if !ok {
			return
		}
		if !kerneltest.SafeID.MatchString(r.ID()) {
			t.Errorf("id %q", r.ID())
		}
		if strings.ContainsAny(r.Locator, "\n\x1b") {
			t.Errorf("locator %q", r.Locator)
		}
		if !strings.HasPrefix(r.Locator, unpack.BadLocator) {
			if o, err := parseLocator(r.Locator); err != nil || o.digest("bucket") != r.Digest {
				t.Errorf("locator %q: %v", r.Locator, err)
			}
		}
	})
}

func TestRetryable(t *testing.T) {
	none := fetch.Retry{}
	local := none.File(t.Context(), filepath.Join(t.TempDir(), "none", "x"), 1, nil, retryable, nil)
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{io.ErrUnexpectedEOF, true},
		{&googleapi.Error{Code: 503}, true},
		{&googleapi.Error{Code: 429}, true},
		{&googleapi.Error{Code: 403}, false},
		{&googleapi.Error{Code: 403, Body: "usageLimits.rateLimitExceeded"}, true},
		{storage.ErrObjectNotExist, false},
		{&changedError{"7"}, false},
		{local, false},
	} {
		if got := retryable(tt.err); got != tt.want {
			t.Errorf("%v: %t", tt.err, got)
		}
	}
}
