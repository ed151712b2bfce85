package report

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestCommand(t *testing.T) {
	for _, words := range [][]string{
		{"--kernels", "debian:bookworm:cloud-amd64", "debian/6.1.0-56-cloud-amd64__6.1.192-2"},
		{"--kernels", "./a b's", "--test", `./x -run 'Test"$(id)"' #`, "--file", "~/x:/y", "--env", "A", "d/6.1~rc1"},
		{"--attach", "--objects", "*.o", "--", ""},
	} {
		line := Command(words...)
		got, err := CommandWords(line)
		if words[len(words)-2] == "--" { // no flag of debug
			if line != "" {
				t.Errorf("%q", line)
			}
			continue
		}
		if err != nil || !slices.Equal(got, words) {
			t.Errorf("%q: %q, %v, want %q", line, got, err, words)
		}
	}
	for _, words := range [][]string{{"a\nb"}, {"a\x1b"}, {"\u202ea"}, {"--gdb"}, {"--host-root", "x"}, {strings.Repeat("x", 5000)}} {
		if line := Command(words...); line != "" {
			t.Errorf("%q", line)
		}
	}
}

func TestBisectCommand(t *testing.T) {
	from := func(id string, words ...string) *Result {
		return &Result{ID: id, Reproduce: Command(append(words, id)...)}
	}
	for want, ends := range map[string][2]*Result{
		"bpf-kernel-check bisect --kernels s --good d/1 --bad d/2 --test './x -v'":             {from("d/1", "--kernels", "s", "--test", "./x -v"), from("d/2", "--kernels", "s", "--test", "./x -v")},
		"bpf-kernel-check bisect --kernels s --kernels 't u' --good d/1 --bad d/2 --objects o": {from("d/1", "--kernels", "s"), from("d/2", "--kernels", "t u", "--objects", "o")},
	} {
		if got := BisectCommand(ends[0], ends[1]); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	good, long := from("d/1", "--kernels", "s"), strings.Repeat("x", maxCommand/2)
	for _, bad := range []*Result{
		{ID: "d/2"},
		from("d/2", "--from", "out"), from("d/2", "--kernels", "s", "--from", "out"),
		{ID: "d/2", Reproduce: Command("--kernels", "s", "d/3")},
		{ID: "d/2", Reproduce: "bpf-kernel-check debug --kernels s $(id)"},
		from(long, "--kernels", long),
	} {
		if got := BisectCommand(good, bad); got != "" {
			t.Errorf("%q of %q", got, bad.Reproduce)
		}
	}
	for _, line := range hostileCommands {
		if got := BisectCommand(&Result{ID: "y", Reproduce: line}, &Result{ID: "y", Reproduce: line}); got != "" {
			t.Errorf("%q of %q", got, line)
		}
	}
}

var hostileCommands = []string{
	"bpf-kernel-check debug x; id", "bpf-kernel-check debug $(id)", "bpf-kernel-check debug `id`", "bpf-kernel-check debug x\nid", "bpf-kernel-check debug x & id",
	"bpf-kernel-check debug x | id", "bpf-kernel-check debug 'x", "bpf-kernel-check debug x >y", "bpf-kernel-check debug --host-root x", "bpf-kernel-check debug --gdb=true x",
	"bpf-kernel-check debug \"$(id)\"", "bpf-kernel-check debug ~root", "bpf-kernel-check debug x #y", "bpf-kernel-check run x", "id", "", " bpf-kernel-check debug x",
	"bpf-kernel-check debug --accel kvm x", "bpf-kernel-check debug \\", "bpf-kernel-check debug x\\\ny", "bpf-kernel-check debug {a,b}", "bpf-kernel-check debug -o x", "bpf-kernel-check debug !x",
	"bpf-kernel-check debug --cache /x y", "bpf-kernel-check debug \u00a0", "bpf-kernel-check debug x\r",
}

func TestHostileCommands(t *testing.T) {
	for _, line := range hostileCommands {
		if words, err := CommandWords(line); err == nil {
			t.Errorf("%q is taken as %q", line, words)
		}
	}
}

// What is taken means to a shell what it means here.
func FuzzCommandWords(f *testing.F) {
	for _, line := range hostileCommands {
		f.Add(line)
	}
	f.Add(Command("--test", "a 'b' \\ $c", "d/e"))
	f.Add("bpf-kernel-check debug a\\ b ''c")
	sh, err := exec.LookPath("sh")
	f.Fuzz(func(t *testing.T, line string) {
		words, werr := CommandWords(line)
		if werr != nil || err != nil {
			return
		}
		cmd := exec.Command(sh, "-c", "f() { for w; do printf '%s\\0' \"$w\"; done; }\n"+strings.Replace(line, "bpf-kernel-check", "f", 1))
		cmd.Env, cmd.Dir = []string{"PATH="}, "/"
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v: %s", line, err, out)
		}
		if want := "debug\x00" + strings.Join(append(words, ""), "\x00"); string(out) != want {
			t.Fatalf("%q: a shell makes %q of it, want %q", line, out, want)
		}
	})
}
