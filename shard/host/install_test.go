package host

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Lists that are new enough are installed by as they are, and updated where that
// does not do.
func TestInstallByFreshLists(t *testing.T) {
	dir := t.TempDir()
	log, lists, needed := filepath.Join(dir, "log"), filepath.Join(dir, "lists"), filepath.Join(dir, "needed")
	for name, script := range map[string]string{
		"apt-get": `echo "$1" >>"` + log + `"; [ "$1" = update ] || [ "$(grep -c install "` + log + `")" -ge "$(cat "` + needed + `")" ]`,
		"sudo":    `shift; exec "$@"`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	for _, tt := range []struct {
		age          time.Duration // of the lists; 0: there are none
		needed, want string
	}{
		{time.Hour, "1", "install"},
		{13 * 24 * time.Hour, "2", "install update install"},
		{time.Hour, "9", "install update install update install update install"},
		{15 * 24 * time.Hour, "1", "update install"},
		{0, "1", "update install"},
	} {
		if err := errors.Join(os.WriteFile(needed, []byte(tt.needed), 0o644), os.RemoveAll(log), os.RemoveAll(lists)); err != nil {
			t.Fatal(err)
		}
		if tt.age > 0 {
			then := time.Now().Add(-tt.age)
			if err := errors.Join(os.Mkdir(lists, 0o700), os.Chtimes(lists, then, then)); err != nil {
				t.Fatal(err)
			}
		}
		i := &Installer{Out: io.Discard, Warn: func(string) {}, Lists: lists}
		if err := i.Install(t.Context(), []string{"gpgv"}); (err == nil) != (tt.needed != "9") {
			t.Error(err)
		}
		b, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(strings.Fields(string(b)), " "); got != tt.want {
			t.Errorf("lists of %v, works the %s. time: %s, want %s", tt.age, tt.needed, got, tt.want)
		}
	}
}

// The rule for KVM stays behind: it is for machines that do not.
func TestOpenKVMOnGitHubsRunnersOnly(t *testing.T) {
	bin, log := t.TempDir(), filepath.Join(t.TempDir(), "log")
	for _, name := range []string{"sudo", "install", "udevadm"} {
		script := "#!/bin/sh\necho " + name + " \"$@\" >> " + log + "\n"
		if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	device := t.TempDir() // which nobody may open to write
	for _, hosted := range []bool{false, true} {
		i := &Installer{Hosted: hosted, Warn: func(m string) { t.Error(m) }}
		if err := i.OpenKVM(t.Context(), device); err != nil {
			t.Error(err)
		}
		b, _ := os.ReadFile(log) // or there is none
		if ran := strings.Contains(string(b), "udevadm control --reload-rules"); ran != hosted {
			t.Errorf("on a runner of GitHub's: %t; it ran %q", hosted, b)
		}
	}
}
