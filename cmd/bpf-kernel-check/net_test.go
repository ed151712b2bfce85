package main

import (
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/rootfs"
)

// A fork's code gets no network on the runner and none of its files, and whoever
// else gives them is told what the payload reaches.
func TestNetAndHostRootAreNotForForks(t *testing.T) {
	workspace := t.TempDir()
	link := filepath.Join(workspace, "link")
	if err := errors.Join(os.Symlink("/etc", link), os.WriteFile(filepath.Join(workspace, "root.tar"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	event := filepath.Join(t.TempDir(), "event.json")
	for _, tc := range []struct{ flag, event, from, want string }{
		{"--net", "pull_request", "other/repo", "--net: this runs a fork's code"},
		{"--net", "pull_request_target", "other/repo", "--net: this runs a fork's code"},
		{"--net", "pull_request", "own/repo", "warning: --net: the payload can reach"},
		{"--net", "push", "", "warning: --net: the payload can reach"},
		{"--host-root", "pull_request", "other/repo", "--host-root: this runs a fork's code"},
		{"--host-root", "pull_request_target", "other/repo", "--host-root: this runs a fork's code"},
		{"--host-root", "pull_request", "own/repo", "warning: --host-root: the payload can read"},
		{"--host-root", "push", "", "warning: --host-root: the payload can read"},
		{"--rootfs=" + link, "pull_request_target", "other/repo", "link: this runs a fork's code"},
		{"--rootfs=/", "pull_request", "other/repo", "--rootfs /: this runs a fork's code"},
		{"--rootfs=/", "issue_comment", "other/repo", "--rootfs /: whether this is a pull request of a fork cannot be told"},
		{"--rootfs=" + link + "/passwd", "push", "", "read it: "},
		{"--rootfs=" + workspace + "/root.tar", "pull_request", "other/repo", "read it: "},
	} {
		text := `{"repository":{"full_name":"own/repo"},"pull_request":{"head":{"repo":{"full_name":"` + tc.from + `"}}}}`
		if err := os.WriteFile(event, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		env := map[string]string{"GITHUB_EVENT_NAME": tc.event, "GITHUB_EVENT_PATH": event, "GITHUB_WORKSPACE": workspace}
		var out, errs bytes.Buffer
		args := []string{"run", "--kernels", t.TempDir(), "--test", "./no-such.test", tc.flag, "--cache", t.TempDir()}
		code := run(t.Context(), args, strings.NewReader(""), &out, &errs, func(k string) string { return env[k] })
		if code != report.ExitUsage || !strings.Contains(errs.String(), tc.want) || strings.Contains(errs.String(), "fork") != strings.Contains(tc.want, "fork") {
			t.Errorf("%v: exit code %d, %s", tc, code, errs.String())
		}
	}
}

// A payload with a network knows the authorities that this machine knows; its own
// stay, and so do those of a root file system.
func TestCertificates(t *testing.T) {
	const inGuest = "/etc/ssl/certs/ca-certificates.crt"
	bundle := filepath.Join(t.TempDir(), "bundle.pem")
	if err := os.WriteFile(bundle, []byte("the bundle"), 0o644); err != nil {
		t.Fatal(err)
	}
	env := func(name string) string { return map[string]string{"SSL_CERT_FILE": bundle}[name] }
	for _, tt := range []struct {
		has  []guest.File
		want string
	}{
		{nil, "the bundle"},
		{[]guest.File{{Path: inGuest, Mode: 0o644, Data: []byte("my own")}}, "my own"},
	} {
		p := guest.Payload{Files: tt.has}
		addCertificates(&p, userRoot{}, env)
		if len(p.Files) != 1 || p.Files[0].Path != inGuest || string(p.Files[0].Data) != tt.want {
			t.Errorf("files %v, want %s", p.Files, tt.want)
		}
	}
	dir := t.TempDir()
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, filepath.Dir(inGuest)), 0o755), os.WriteFile(filepath.Join(dir, inGuest), []byte("the root's"), 0o644)); err != nil {
		t.Fatal(err)
	}
	cache, err := kernel.NewCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		dir  string
		want int
	}{{dir, 0}, {filepath.Join(dir, "etc"), 1}} {
		var p guest.Payload
		root, err := rootfs.Open(t.Context(), cache, tt.dir, "amd64")
		if err != nil {
			t.Fatal(err)
		}
		if addCertificates(&p, userRoot{Root: root}, env); len(p.Files) != tt.want {
			t.Errorf("a root from %s: files %v, want %d", tt.dir, p.Files, tt.want)
		}
	}
}

// --timeout-total ends the making of a root file system as well.
func TestTimeoutEndsTheRoot(t *testing.T) {
	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	var out, errs bytes.Buffer
	args := []string{"run", "--kernels", t.TempDir(), "--test", "sh", "--rootfs", "oci://" + silent.Addr().String() + "/x", "--timeout-total", "5s", "--timeout", "1s", "--boot-timeout", "1s", "--cache", t.TempDir()}
	code := run(t.Context(), args, strings.NewReader(""), &out, &errs, func(string) string { return "" })
	if code != report.ExitNotTested || !strings.Contains(errs.String(), "before the payload and the list of kernels were there") {
		t.Errorf("exit code %d, %s", code, errs.String())
	}
}
