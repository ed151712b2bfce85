package shard

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/gcstest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/source"
	"github.com/elastic/bpf-kernel-check/shard/plan"
)

// A bucket of 300 kernels over 12 distributions, behind a network that breaks
// connections, changes bytes and is busy. All arrive as they were sent;
// eight of them are booted, too. The second time nothing is downloaded.
func TestBucketOf300(t *testing.T) {
	const distros, each, booted = 12, 25, 8 // seven boots, and one kernel that never arrives
	l := theLab(t)
	im, err := l.entry.Source.Open(t.Context(), l.entry.Ref)
	if err != nil {
		t.Fatal(err)
	}
	vmlinuz, err := os.ReadFile(im.Kernel)
	if err != nil {
		t.Fatal(err)
	}
	s := gcstest.Start(t)
	s.Bucket(t, "kernels")
	broken := map[string]bool{}
	sent := map[string][]byte{}
	var size int64
	for d := range distros {
		for i := range each {
			id := fmt.Sprintf("distro%02d/6.1.%02d-1.x86_64__%08x", d, i, d<<16|i)
			broken[id] = d == 0 && i == 7
			// Only what is booted has to be whole: the header alone is opened
			// as well, and 300 kernels would be 3 GB.
			image := header(vmlinuz)
			if d == 0 && i < booted {
				image = vmlinuz
			}
			sent[id] = image
			b := archiveOf(t, image, id)
			size += int64(len(b))
			s.Put(t, "kernels", "v1/"+id+".tar", b)
		}
	}
	for _, name := range []string{"v1/README", "v1/distro00/", "v10/other/6.1.0.tar"} {
		s.Put(t, "kernels", name, nil)
	}
	p := s.Proxy(t, func(r gcstest.Request) gcstest.Fault {
		if r.Object == "" {
			return gcstest.Fault{Status: []int{503, 0, 429, 0, 0}[r.N%5], Cut: r.N == 3, At: 2000}
		}
		if broken[strings.TrimSuffix(strings.TrimPrefix(r.Object, "kernels/v1/"), ".tar")] {
			return gcstest.Fault{Corrupt: true, At: 9000}
		}
		if r.N > 1 {
			return gcstest.Fault{}
		}
		// Which fault is decided by the name, so that a run can be repeated.
		sum := 0
		for _, c := range r.Object {
			sum = 31*sum + int(c)
		}
		switch sum % 7 {
		case 0:
			return gcstest.Fault{Cut: true, At: 3000}
		case 1:
			return gcstest.Fault{Corrupt: true, At: 2500}
		case 2:
			return gcstest.Fault{Status: 503}
		case 3:
			return gcstest.Fault{Status: 429}
		case 4:
			return gcstest.Fault{Status: 408}
		}
		return gcstest.Fault{}
	})
	t.Setenv("STORAGE_EMULATOR_HOST", p.Host)

	cache, err := kernel.NewCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	list := func() plan.Plan {
		t.Helper()
		src, err := source.Parse("gs://kernels/v1", cache)
		if err != nil {
			t.Fatal(err)
		}
		listed, err := plan.Select(t.Context(), []kernel.Source{src}, plan.Filter{Arch: "amd64", MinRelease: plan.DefaultMinRelease})
		if err != nil {
			t.Fatal(err)
		}
		return listed
	}
	listed := list()
	if len(listed.Entries) != distros*each {
		t.Fatalf("listed %d kernels, want %d", len(listed.Entries), distros*each)
	}

	// Some through the runner.
	boot := plan.Plan{Entries: listed.Entries[:booted]}
	r := l.runner(t, l.passPayload(t))
	r.Cache, r.Jobs = cache, 2
	l.slots <- struct{}{}
	l.slots <- struct{}{}
	start := time.Now()
	results, err := r.Run(t.Context(), boot)
	<-l.slots
	<-l.slots
	if err != nil {
		t.Fatal(err)
	}
	passed := 0
	for _, k := range results {
		switch {
		case broken[k.ID]:
			if k.Verdict != report.Infra || k.Accel != "" || !strings.Contains(k.Cause.Title, "CRC32C") {
				t.Errorf("%s, corrupt for good: %v, %+v, want infra and no boot", k.ID, k.Verdict, k.Cause)
			}
		case k.Verdict != report.Pass:
			t.Errorf("%s: %v, %+v", k.ID, k.Verdict, k.Cause)
		default:
			passed++
		}
	}
	t.Logf("%d kernels booted in %v", passed, time.Since(start).Round(time.Second))
	if passed != booted-1 {
		t.Errorf("%d kernels booted, want %d", passed, booted-1)
	}

	// All others, four at a time, and once more all of them.
	open := func(listed plan.Plan) {
		t.Helper()
		var wg sync.WaitGroup
		next := make(chan plan.Entry)
		for range 4 {
			wg.Go(func() {
				for e := range next {
					im, err := e.Source.Open(t.Context(), e.Ref)
					if broken[e.ID()] {
						if err == nil {
							t.Errorf("%s is corrupt and was opened", e.ID())
						}
						continue
					}
					if err != nil {
						t.Error(err)
						continue
					}
					want := sent[e.ID()]
					if got, err := os.ReadFile(im.Kernel); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%s: %d bytes, not the %d that were sent (%v)", e.ID(), len(got), len(want), err)
					}
				}
			})
		}
		for _, e := range listed.Entries {
			next <- e
		}
		close(next)
		wg.Wait()
	}
	open(plan.Plan{Entries: listed.Entries[booted:]})
	bytes, _ := p.Sent()
	t.Logf("%d bytes of objects, %d downloaded", size, bytes)

	again := list()
	if again.Digest() != listed.Digest() {
		t.Error("the same bucket gives another listed")
	}
	var whole plan.Plan
	for _, e := range again.Entries {
		if !broken[e.ID()] {
			whole.Entries = append(whole.Entries, e)
		}
	}
	open(whole)
	if after, _ := p.Sent(); after != bytes {
		t.Errorf("the second run downloaded %d bytes", after-bytes)
	}
}

// header is the start of a kernel that says that there is no more to it.
func header(vmlinuz []byte) []byte {
	b := bytes.Clone(vmlinuz[:64<<10])
	clear(b[0x248:0x250]) // payload offset and length
	return b
}

func archiveOf(t *testing.T, vmlinuz []byte, id string) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, f := range []struct {
		name string
		data []byte
	}{{"id", []byte(id)}, {"vmlinuz", vmlinuz}} {
		if err := tw.WriteHeader(&tar.Header{Name: f.name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(f.data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(f.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
