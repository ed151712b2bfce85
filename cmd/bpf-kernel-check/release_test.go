package main

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// script runs one of .github/scripts in a tree, and returns what it printed.
func script(t *testing.T, tree string, env []string, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(filepath.Join(tree, ".github/scripts", name), args...)
	cmd.Dir = tree
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// scriptTree is a tree that holds a script, and files.
func scriptTree(t *testing.T, name string, files map[string]string) string {
	t.Helper()
	tree := t.TempDir()
	b, err := os.ReadFile(filepath.Join(repository, ".github/scripts", name))
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(tree, ".github/scripts", name), string(b))
	for path, text := range files {
		put(t, filepath.Join(tree, path), text)
	}
	return tree
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

func sumOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// A program that is not the one of the checksum never gets to run.
func TestGetProgram(t *testing.T) {
	t.Parallel()
	const good = "#!/bin/sh\necho good\n"
	asset := "bpf-kernel-check-v1.2.3-linux-" + runtime.GOARCH
	const evil = "#!/bin/sh\necho evil\n"
	other := sumOf(evil) + "  bpf-kernel-check-v1.2.3-linux-riscv64"
	for name, tt := range map[string]struct {
		sums   string // of the tree; "": it is no release's
		served string
		cut    int    // as many bytes are missing from the end of each answer
		cached string // in the tool cache before
		want   string // the error; "": there is none
		asked  bool   // for the program
		build  string
	}{
		"released":       {sums: sumOf(good) + "  " + asset, served: good, asked: true, build: "false"},
		"for others too": {sums: other + "\n" + sumOf(good) + "  " + asset, served: good, asked: true, build: "false"},
		"from the cache": {sums: sumOf(good) + "  " + asset, cached: good, build: "false"},
		"tampered":       {sums: sumOf(good) + "  " + asset, served: evil, asked: true, want: "is not the file whose checksum"},
		"empty":          {sums: sumOf(good) + "  " + asset, served: " ", asked: true, want: "is not the file whose checksum"},
		"cut short":      {sums: sumOf(good) + "  " + asset, served: good, cut: 3, asked: true, want: "no download of http://"},
		"tampered cache": {sums: sumOf(good) + "  " + asset, served: good, cached: evil, want: "is not the file whose checksum"},
		"not there":      {sums: sumOf(good) + "  " + asset, asked: true, want: "set BPF_KERNEL_CHECK_DOWNLOADS to a mirror"},
		"no release":     {served: good, build: "true"},
		"another's sum":  {sums: other, served: good, build: "true"},
		// Of two programs the one's sum must not go with the other's name.
		"two programs":   {sums: sumOf(evil) + "  bpf-kernel-check-v1.2.2-linux-" + runtime.GOARCH + "\n" + sumOf(good) + "  " + asset, served: good, want: "several programs"},
		"a path":         {sums: sumOf(good) + "  ../../" + asset, served: good, want: "no checksum of a release"},
		"one line more":  {sums: sumOf(good) + "  " + asset + "\n$(touch /tmp/x)", served: good, want: "no checksum of a release"},
		"a carriage":     {sums: sumOf(good) + "  " + asset + "\r", served: good, want: "no checksum of a release"},
		"a short sum":    {sums: sumOf(good)[:63] + "  " + asset, served: good, want: "no checksum of a release"},
		"a blank line":   {sums: sumOf(good) + "  " + asset + "\n", served: good, want: "no checksum of a release"},
		"one space":      {sums: sumOf(good) + " " + asset, served: good, want: "no checksum of a release"},
		"upper case":     {sums: strings.ToUpper(sumOf(good)) + "  " + asset, served: good, want: "no checksum of a release"},
		"another format": {sums: "SHA256 (" + asset + ") = " + sumOf(good), served: good, want: "no checksum of a release"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // curl waits between its attempts
			files := map[string]string{"go.mod": "x", "go.sum": "", "Makefile": "", "cmd/a.go": "", "guest/a.go": "", "report/a.go": "", "shard/a.go": ""}
			if tt.sums != "" {
				files[".github/checksums.txt"] = tt.sums + "\n"
			}
			tree := scriptTree(t, "get-program", files)
			var asked atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				if tt.served == "" || r.URL.Path != "/v1.2.3/"+asset {
					http.NotFound(w, r)
					return
				}
				w.Header().Set("Content-Length", strconv.Itoa(len(tt.served)))
				io.WriteString(w, tt.served[:len(tt.served)-tt.cut]) //nolint:errcheck // cut short on purpose
			}))
			t.Cleanup(server.Close)
			tools, output := t.TempDir(), filepath.Join(t.TempDir(), "output")
			if tt.cached != "" {
				put(t, filepath.Join(tools, "bpf-kernel-check", sumOf(good), "bpf-kernel-check"), tt.cached)
			}
			put(t, filepath.Join(tools, ".curlrc"), "retry-delay = 1\n") // instead of 1, 2 and 4 s
			env := []string{"CURL_HOME=" + tools, "RUNNER_TOOL_CACHE=" + tools, "RUNNER_TEMP=" + t.TempDir(), "GITHUB_OUTPUT=" + output, "BPF_KERNEL_CHECK_DOWNLOADS=" + server.URL}
			out, err := script(t, tree, env, "get-program", "find")
			if (err == nil) != (tt.want == "") || !strings.Contains(out, tt.want) || err != nil && !strings.Contains(out, "::error::") {
				t.Fatalf("%v, want %q\n%s", err, tt.want, out)
			}
			if (asked.Load() > 0) != tt.asked {
				t.Errorf("asked for it: %d times, want some: %v", asked.Load(), tt.asked)
			}
			b, err := os.ReadFile(output)
			if tt.want != "" {
				if err == nil {
					t.Errorf("it has outputs: %s", b)
				}
				left, err := filepath.Glob(filepath.Join(tools, "bpf-kernel-check/*/*"))
				if err != nil || len(left) != 0 {
					t.Errorf("it left %v, %v", left, err)
				}
				return
			}
			if err != nil || !strings.Contains(string(b), "build="+tt.build+"\n") {
				t.Fatalf("%v, outputs %s", err, b)
			}
			outputs := scriptOutputs(string(b))
			program := outputs["program"]
			if outputs["root"] != tree {
				t.Errorf("root is %q, want %s", outputs["root"], tree)
			}
			if tt.build == "true" {
				if exists(program) {
					t.Errorf("%s is there", program)
				}
				return
			}
			if out, err := exec.Command(program).Output(); err != nil || string(out) != "good\n" {
				t.Errorf("%s says %q, %v", program, out, err)
			}
		})
	}
}

// What one job has built the next takes from a cache: GitHub's, which is no
// more than a directory here.
func TestGetProgramFromACache(t *testing.T) {
	tree := sourceTree(t, "built")
	kept := t.TempDir()
	for _, want := range []string{"building bpf-kernel-check from source", "an earlier run built it"} {
		output, temp := filepath.Join(t.TempDir(), "output"), t.TempDir()
		env := []string{"RUNNER_TOOL_CACHE=" + t.TempDir(), "RUNNER_TEMP=" + temp, "GITHUB_OUTPUT=" + output, "GITHUB_WORKSPACE=" + filepath.Dir(tree)}
		var log string
		for _, arg := range []string{"find", "build"} {
			out, err := script(t, tree, env, "get-program", arg)
			if err != nil {
				t.Fatalf("%s: %v\n%s", arg, err, out)
			}
			log += out
			if arg == "find" { // what actions/cache does between the two
				if err := os.CopyFS(temp, os.DirFS(kept)); err != nil {
					t.Fatal(err)
				}
			}
		}
		b, err := os.ReadFile(output)
		if err != nil {
			t.Fatal(err)
		}
		outputs := scriptOutputs(string(b))
		built := map[bool]string{true: "true"}[strings.HasPrefix(want, "building")]
		if !strings.Contains(log, want) || outputs["build"] != "true" || outputs["built"] != built || outputs["go-cache"] != "true" || !strings.HasPrefix(outputs["key"], "bpf-kernel-check-program-source-") {
			t.Errorf("want %s\n%s%s", want, log, b)
		}
		for _, program := range []string{outputs["program"], filepath.Join(outputs["dir"], "bpf-kernel-check")} {
			if out, err := exec.Command(program).Output(); err != nil || string(out) != "built\n" {
				t.Errorf("%s says %q, %v", program, out, err)
			}
		}
		if built == "true" {
			if err := os.CopyFS(kept, os.DirFS(temp)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// sourceTree is no release's; the program that is built from it says a word.
func sourceTree(t *testing.T, word string) string {
	t.Helper()
	return scriptTree(t, "get-program", map[string]string{
		"go.mod": "x", "go.sum": "", "cmd/a.go": "", "guest/a.go": "", "report/a.go": "", "shard/a.go": "",
		"Makefile": "build:\n\tmkdir -p bin && printf '#!/bin/sh\\necho " + word + "\\n' >bin/bpf-kernel-check && chmod +x bin/bpf-kernel-check\n",
	})
}

// scriptOutputs reads outputs of one line each.
func scriptOutputs(text string) map[string]string {
	outputs := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		outputs[name] = value
	}
	return outputs
}

// Two versions of the action in one job have a program each, which nobody else
// can put there: not even who writes to the tool cache that jobs share.
func TestGetProgramOfTwoTrees(t *testing.T) {
	tools, temp := t.TempDir(), t.TempDir()
	for _, word := range []string{"one", "two", "one"} {
		tree := sourceTree(t, word)
		output := filepath.Join(t.TempDir(), "output")
		env := []string{"RUNNER_TOOL_CACHE=" + tools, "RUNNER_TEMP=" + temp, "GITHUB_OUTPUT=" + output}
		for _, arg := range []string{"find", "build"} {
			if out, err := script(t, tree, env, "get-program", arg); err != nil {
				t.Fatalf("%s: %v\n%s", arg, err, out)
			}
			b, err := os.ReadFile(output)
			if err != nil {
				t.Fatal(err)
			}
			key := strings.TrimPrefix(scriptOutputs(string(b))["key"], "bpf-kernel-check-program-")
			put(t, filepath.Join(tools, "bpf-kernel-check", key, "bpf-kernel-check"), "#!/bin/sh\necho planted\n")
		}
		b, err := os.ReadFile(output)
		if err != nil {
			t.Fatal(err)
		}
		program := scriptOutputs(string(b))["program"]
		if out, err := exec.Command(program).Output(); err != nil || string(out) != word+"\n" {
			t.Errorf("%s says %q, %v, want %s", program, out, err, word)
		}
	}
}

// A release is looked for where the action is from, and then at the original's.
func TestGetProgramOfAFork(t *testing.T) {
	const program = "#!/bin/sh\necho good\n"
	name := "bpf-kernel-check-v1.2.3-linux-" + runtime.GOARCH
	path := "/releases/download/v1.2.3/" + name
	const original = "https://github.com/elastic/bpf-kernel-check"
	for why, tt := range map[string]struct {
		server, repository, mirror string
		has                        string // has the program
		asked                      []string
	}{
		"a fork":          {"https://github.com", "octo/fork", "", "https://github.com/octo/fork", []string{"https://github.com/octo/fork" + path}},
		"a copy of a tag": {"https://github.com", "octo/fork", "", original, []string{"https://github.com/octo/fork" + path, original + path}},
		"the original":    {"https://github.com", "elastic/bpf-kernel-check", "", original, []string{original + path}},
		"a local action":  {"https://github.com", "", "", original, []string{original + path}},
		"another server":  {"https://git.example", "elastic/bpf-kernel-check", "", original, []string{"https://git.example/elastic/bpf-kernel-check" + path, original + path}},
		"no repository":   {"https://github.com", "a b/$(id)", "", original, []string{original + path}},
		"a mirror":        {"https://github.com", "octo/fork", "https://mirror.example", "https://mirror.example", []string{"https://mirror.example/v1.2.3/" + name}},
		"nowhere":         {"https://github.com", "octo/fork", "", "", []string{"https://github.com/octo/fork" + path, original + path}},
	} {
		t.Run(why, func(t *testing.T) {
			tree := scriptTree(t, "get-program", map[string]string{".github/checksums.txt": sumOf(program) + "  " + name + "\n"})
			bin, output := t.TempDir(), filepath.Join(t.TempDir(), "output")
			put(t, filepath.Join(bin, "served"), program)
			put(t, filepath.Join(bin, "curl"), `#!/bin/bash
while [ $# -gt 1 ]; do [ "$1" = -o ] && to=$2; shift; done
echo "$1" >>"`+bin+`/asked"
case $1 in "`+tt.has+`"?*) [ -n "`+tt.has+`" ] && cp "`+bin+`/served" "$to" ;; *) exit 22 ;; esac
`)
			env := []string{
				"PATH=" + bin + ":" + os.Getenv("PATH"), "RUNNER_TOOL_CACHE=" + t.TempDir(), "GITHUB_OUTPUT=" + output,
				"GITHUB_SERVER_URL=" + tt.server, "ACTION_REPOSITORY=" + tt.repository, "BPF_KERNEL_CHECK_DOWNLOADS=" + tt.mirror,
			}
			out, err := script(t, tree, env, "get-program", "find")
			if (err == nil) != (tt.has != "") {
				t.Errorf("%v\n%s", err, out)
			}
			b, err := os.ReadFile(filepath.Join(bin, "asked"))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Fields(string(b)); !slices.Equal(got, tt.asked) {
				t.Errorf("asked for %q, want %q", got, tt.asked)
			}
		})
	}
}

func TestReleaseScript(t *testing.T) {
	const changelog = "# Changes\n\n## Unreleased\n\n- x\n\n## v1.2.3\n\n- what is new\n\n## v1.2.2\n\n- old\n"
	const asset = "bpf-kernel-check-v1.2.3-linux-amd64"
	for name, tt := range map[string]struct {
		version, sums, changelog string
		tagged                   bool // before
		want                     string
	}{
		"well":              {version: "v1.2.3", sums: sumOf("program") + "  " + asset + "\n", changelog: changelog, want: "released v1.2.3, v1 points to it"},
		"no version":        {version: "1.2.3", sums: sumOf("program") + "  " + asset + "\n", changelog: changelog, want: "want vX.Y.Z"},
		"an option":         {version: "--all", sums: sumOf("program") + "  " + asset + "\n", changelog: changelog, want: "want vX.Y.Z"},
		"other bytes":       {version: "v1.2.3", sums: sumOf("other") + "  " + asset + "\n", changelog: changelog, want: "FAILED"},
		"another's program": {version: "v1.2.3", sums: sumOf("program") + "  " + asset + "\n" + sumOf("x") + "  x\n", changelog: changelog, want: "not of v1.2.3"},
		"no notes":          {version: "v1.2.3", sums: sumOf("program") + "  " + asset + "\n", changelog: "# Changes\n", want: "has no section ## v1.2.3"},
		"there already":     {version: "v1.2.3", sums: sumOf("program") + "  " + asset + "\n", changelog: changelog, tagged: true, want: "there already"},
	} {
		t.Run(name, func(t *testing.T) {
			tree := scriptTree(t, "release", map[string]string{".github/CHANGELOG.md": tt.changelog, ".gitignore": "/dist/\n"})
			remote, bin := filepath.Join(t.TempDir(), "remote.git"), t.TempDir()
			git := func(args ...string) string {
				t.Helper()
				cmd := exec.Command("git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
				cmd.Dir = tree
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("git %q: %v\n%s", args, err, out)
				}
				return strings.TrimSpace(string(out))
			}
			git("init", "-q", "--bare", remote)
			git("init", "-q", "-b", "main")
			git("add", "-A")
			git("commit", "-q", "-m", "main")
			git("push", "-q", remote, "main")
			if tt.tagged {
				git("tag", "v1.2.3")
				git("push", "-q", remote, "v1.2.3")
				git("tag", "-d", "v1.2.3")
			}
			put(t, filepath.Join(tree, "dist", asset), "program")
			put(t, filepath.Join(tree, "dist/x"), "x")
			put(t, filepath.Join(tree, "dist/checksums.txt"), tt.sums)
			// What gh is asked, and whether the tag was there by then.
			put(t, filepath.Join(bin, "gh"), `#!/bin/sh
echo "$*" >"`+bin+`/asked"
while [ "$1" != --notes-file ]; do shift; done
cp "$2" "`+bin+`/notes"
git ls-remote --tags "`+remote+`" >"`+bin+`/tags"
`)
			out, err := script(t, tree, []string{"VERSION=" + tt.version, "GH_TOKEN=secret", "RELEASE_REMOTE=" + remote, "PATH=" + bin + ":" + os.Getenv("PATH")}, "release")
			if !strings.Contains(out, tt.want) || (err == nil) != (name == "well") {
				t.Fatalf("%v, want %s:\n%s", err, tt.want, out)
			}
			if strings.Contains(out, "secret") {
				t.Errorf("it shows the token:\n%s", out)
			}
			if name != "well" {
				if exists(filepath.Join(bin, "asked")) {
					t.Error("it was published")
				}
				return
			}
			text := func(path string) string {
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				return string(b)
			}
			if got := text(filepath.Join(bin, "notes")); strings.TrimSpace(got) != "- what is new" {
				t.Errorf("notes %q", got)
			}
			if got := text(filepath.Join(bin, "asked")); !strings.HasPrefix(got, "release create v1.2.3 --verify-tag ") || !strings.Contains(got, "dist/"+asset) {
				t.Errorf("gh %s", got)
			}
			if got := text(filepath.Join(bin, "tags")); !strings.Contains(got, "refs/tags/v1.2.3") || strings.Contains(got, "refs/tags/v1\n") {
				t.Errorf("when it was published, the tags were\n%s", got)
			}
			if got := git("--git-dir", remote, "show", "v1:.github/checksums.txt"); got != strings.TrimSpace(tt.sums) {
				t.Errorf("checksums %q", got)
			}
			if a, b := git("--git-dir", remote, "rev-parse", "v1"), git("--git-dir", remote, "rev-parse", "v1.2.3"); a != b {
				t.Errorf("v1 is %s, v1.2.3 is %s", a, b)
			}
			if a, b := git("--git-dir", remote, "rev-parse", "main"), git("--git-dir", remote, "rev-parse", "v1~1"); a != b {
				t.Errorf("main is %s, and the release is based on %s", a, b)
			}
		})
	}
}

// releaseTree is this repository as tagged by a release, with the programs
// still in dist.
func releaseTree(t *testing.T, version string) string {
	t.Helper()
	tree := filepath.Join(t.TempDir(), "release")
	copyRepository(t, tree)
	cmd := exec.Command("make", "-s", "release", "VERSION="+version)
	cmd.Dir = tree
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	sums, err := os.ReadFile(filepath.Join(tree, "dist/checksums.txt"))
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(tree, ".github/checksums.txt"), string(sums))
	return tree
}

// checkSameBytes builds a release once more, in another directory: whoever
// builds a tag gets the bytes whose checksum is in it.
func checkSameBytes(t *testing.T, release, version string) {
	t.Helper()
	name := "bpf-kernel-check-" + version + "-linux-amd64"
	var sums []string
	for _, tree := range []string{release, releaseTree(t, version)} {
		out, err := exec.Command(filepath.Join(tree, "dist", name), "--version").Output()
		if err != nil || strings.TrimSpace(string(out)) != "bpf-kernel-check version "+version {
			t.Errorf("%q, %v", out, err)
		}
		b, err := os.ReadFile(filepath.Join(tree, ".github/checksums.txt"))
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, string(b))
	}
	if sums[0] != sums[1] {
		t.Errorf("two builds differ:\n%s%s", sums[0], sums[1])
	}
}

func TestReleaseVersion(t *testing.T) {
	cmd := exec.Command("make", "-s", "-C", repository, "release", "VERSION=1.2.3", "DIST="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "want vX.Y.Z") {
		t.Errorf("%v\n%s", err, out)
	}
}
