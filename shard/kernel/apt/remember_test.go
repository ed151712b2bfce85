package apt

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/kerneltest"
)

// apt is asked for the host's mirrors once, and again when one of its files has
// changed, or after an hour.
func TestAptRemembersMirrors(t *testing.T) {
	needTools(t)
	dir := t.TempDir()
	sources := func(host string) {
		imagetest.WriteFile(t, filepath.Join(dir, "sources.list"), fmt.Appendf(nil, "deb http://%s/debian sid main\n", host))
		imagetest.WriteFile(t, filepath.Join(dir, "lists", host+"_debian_dists_sid_main_binary-amd64_Packages"), nil)
	}
	conf := imagetest.WriteFile(t, filepath.Join(dir, "apt.conf"), fmt.Appendf(nil, `Dir::Etc::sourcelist "%[1]s/sources.list"; Dir::Etc::sourceparts "/dev/null"; Dir::State::lists "%[1]s/lists"; APT::Architecture "amd64";`, dir))
	t.Setenv("APT_CONFIG", conf)
	c := kerneltest.NewCache(t)
	now := time.Now().Truncate(kernel.ListAge)
	check := func(when, want string) {
		t.Helper()
		got, err := publicDebian().hostMirrors(t.Context(), c, now)
		if err != nil || got.main != "http://"+want+"/debian" {
			t.Errorf("%s: %q, %v, want %s", when, got.main, err, want)
		}
	}
	sources("a.example")
	check("first", "a.example")
	sources("b.example") // not one of the files that apt has by itself
	check("again", "a.example")
	now = now.Add(kernel.ListAge)
	check("an hour later", "b.example")
	sources("c.example")
	b, err := os.ReadFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	imagetest.WriteFile(t, conf, fmt.Appendf(nil, "# changed\n%s", b))
	check("with another configuration", "c.example")
	notes, _ := filepath.Glob(filepath.Join(c.Dir(), "hashes", "*.json"))
	for _, n := range notes {
		imagetest.WriteFile(t, n, []byte("{damaged"))
	}
	sources("d.example")
	check("from a damaged note", "d.example")
}

// A package list that has not changed is parsed once.
func TestAptRemembersPackages(t *testing.T) {
	t.Parallel()
	r := newRepo(t, "sid", debianPackages(t)...)
	c := kerneltest.NewCache(t)
	s := r.source(t, "debian:sid:cloud-amd64", c)
	now := time.Now()
	s.now = func() time.Time { return now }
	list := func() string {
		t.Helper()
		now = now.Add(kernel.ListAge)
		return strings.Join(kerneltest.IDs(kerneltest.List(t, s)), " ")
	}
	want := list()
	var note string
	for until := time.Now().Add(time.Minute); note == ""; list() { // a file that is just written is not trusted to stay
		if time.Now().After(until) {
			t.Fatal("nothing is remembered")
		}
		notes, _ := filepath.Glob(filepath.Join(c.Dir(), "hashes", "*.json"))
		note = strings.Join(notes, "")
	}
	b, err := os.ReadFile(note)
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.ReplaceAll(b, []byte("6.1.192-1"), []byte("6.1.192-7"))
	imagetest.WriteFile(t, note, changed)
	if got := list(); got != strings.ReplaceAll(want, "6.1.192-1", "6.1.192-7") {
		t.Errorf("listed %s, want what is remembered", got)
	}
	for name, bad := range map[string][]byte{
		"cut":     changed[:len(changed)/2],
		"version": bytes.Replace(changed, []byte(`"key":"`+stanzasVersion), []byte(`"key":"0`), 1),
		"inode":   bytes.Replace(changed, []byte(`"inode":`), []byte(`"inode":1`), 1),
	} {
		imagetest.WriteFile(t, note, bad)
		if got := list(); got != want || bytes.Equal(bad, changed) {
			t.Errorf("%s: listed %s, want %s", name, got, want)
		}
	}
}
