package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is there stays, whatever it is; what is not is made, once.
func TestPopulate(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"/etc/hosts", "/run", "/var/run"} {
		if err := os.MkdirAll(root+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{"/etc/passwd": "mine", "/var/run/file": "mine"} {
		if err := os.WriteFile(root+name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("nowhere", root+"/etc/group"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := populate(root, true, false); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"passwd": "mine", "../var/run/file": "mine", "resolv.conf": netResolver, "nsswitch.conf": "hosts:", "localtime": "TZif",
	} {
		b, err := os.ReadFile(filepath.Join(root, "etc", name))
		if err != nil || !strings.HasPrefix(string(b), want) && !strings.Contains(string(b), "\n"+want) {
			t.Errorf("/etc/%s: %.100q, %v, want %q", name, b, err, want)
		}
	}
	if to, err := os.Readlink(root + "/etc/group"); err != nil || to != "nowhere" {
		t.Errorf("a link is now %q, %v", to, err)
	}
	if info, err := os.Stat(root + "/var/tmp"); err != nil || info.Mode() != os.ModeDir|os.ModeSticky|0o777 {
		t.Errorf("/var/tmp: %v, %v", info, err)
	}
}

// Container images have empty files for what their runtime mounts there, and a
// service of the user's system writes resolv.conf elsewhere.
func TestPopulateUsersRoot(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"/etc", "/run"} {
		if err := os.Mkdir(root+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{"hosts": "", "hostname": "", "passwd": "mine"} {
		if err := os.WriteFile(root+"/etc/"+name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{"resolv.conf": "../run/systemd/resolve/stub-resolv.conf", "os-release": "passwd"} {
		if err := os.Symlink(to, root+"/etc/"+name); err != nil {
			t.Fatal(err)
		}
	}
	if err := populate(root, true, true); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"hosts": "localhost", "hostname": "guest", "passwd": "mine", "os-release": "mine", "resolv.conf": netResolver} {
		if b, err := os.ReadFile(root + "/etc/" + name); err != nil || !strings.Contains(string(b), want) {
			t.Errorf("/etc/%s: %.100q, %v, want %q", name, b, err, want)
		}
	}
}
