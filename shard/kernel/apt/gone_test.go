package apt

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/kerneltest"
)

// A kernel is gone when the mirror says so of one of its packages, and of
// nothing else: what is busy or forbidden today may be there tomorrow.
func TestAptTellsWhatIsGone(t *testing.T) {
	t.Parallel()
	r := newRepo(t, "sid", debianPackages(t)...)
	const first, modules = "linux-image-6.1.0-55-cloud-amd64_6.1.192-1_amd64.deb", "linux-modules-7.2.13+deb14-cloud-amd64_7.2.13-1_amd64.deb"
	c := kerneltest.NewCache(t)
	s := r.source(t, "debian:sid:cloud-amd64", c)
	now := time.Now()
	s.now = func() time.Time { return now }
	refs := kerneltest.List(t, s)
	gone := func(s *source, local bool) (ids []string) {
		t.Helper()
		r.requests()
		gone := s.Gone(t.Context(), refs, local)
		for _, ref := range refs {
			if gone[ref.Digest] {
				ids = append(ids, ref.Release)
			}
		}
		return ids
	}
	for status, want := range map[int]bool{404: true, 410: true, 301: false, 400: false, 401: false, 403: false, 429: false, 500: false, 503: false} {
		r.answer(status, first)
		if got := gone(r.source(t, "debian:sid:cloud-amd64", kerneltest.NewCache(t)), true); slices.Equal(got, []string{"6.1.0-55-cloud-amd64"}) != want || !want && got != nil {
			t.Errorf("%d: %q are gone", status, got)
		}
	}

	// Only answers are remembered, for as long as the list.
	r.answer(503, first, modules)
	if got := gone(s, true); got != nil || debRequests(r.requests()) != 5 {
		t.Errorf("%q are gone", got)
	}
	r.answer(404, first, modules)
	want := []string{"6.1.0-55-cloud-amd64", "7.2.13+deb14-cloud-amd64"}
	if got := gone(s, true); !slices.Equal(got, want) || debRequests(r.requests()) != 4 {
		t.Errorf("%q are gone, want %q", got, want)
	}
	r.answer(0)
	if got := gone(r.source(t, "debian:sid:cloud-amd64", c), true); !slices.Equal(got, want) || len(r.requests()) != 0 {
		t.Errorf("%q are gone, want %q without another question", got, want)
	}
	now = now.Add(kernel.ListAge)
	if got := gone(s, true); got != nil {
		t.Errorf("%q are gone, an hour later", got)
	}

	// What is here is not gone, but for those who ask for others too.
	if _, err := s.Open(t.Context(), refs[0]); err != nil {
		t.Fatal(err)
	}
	now = now.Add(kernel.ListAge)
	r.answer(404, first)
	if got := gone(s, true); got != nil {
		t.Errorf("%q are gone, and in the cache", got)
	}
	if got := gone(s, false); !slices.Equal(got, want[:1]) {
		t.Errorf("%q are gone, want %q", got, want[:1])
	}

	// A password in the mirror's address is not in apt's words.
	login := r.source(t, "debian:sid:cloud-amd64", c)
	login.archive.main = strings.Replace(r.URL, "http://", "http://user:pw@", 1)
	if got := gone(login, false); !slices.Equal(got, want[:1]) {
		t.Errorf("%q are gone, want %q", got, want[:1])
	}

	// A mirror that is down says nothing.
	now = now.Add(kernel.ListAge)
	r.Close()
	if got := gone(s, false); got != nil {
		t.Errorf("%q are gone of a mirror that is down", got)
	}
}
