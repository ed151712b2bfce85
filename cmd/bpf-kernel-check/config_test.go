package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// configSchema is the JSON Schema of bpf-kernel-check.yaml, for editors.
func configSchema(t *testing.T) string {
	t.Helper()
	properties := map[string]any{}
	for name, f := range settable((&command{}).root()) {
		if slices.Contains(notInFile, name) {
			continue
		}
		one := map[string]any{"type": []string{"string", "number"}}
		switch f.Value.Type() {
		case "bool":
			one = map[string]any{"type": "boolean"}
		case "int":
			one = map[string]any{"type": "integer"}
		case "float64":
			one = map[string]any{"type": "number"}
		case "duration":
			one = map[string]any{"type": []string{"string", "number"}, "pattern": `^([0-9]+(\.[0-9]+)?(h|m|s|ms|us|ns))+$|^0$`}
		case "stringArray":
			one = map[string]any{"type": []string{"string", "number", "array"}, "items": one, "minItems": 1}
		case "string":
		default:
			t.Errorf("--%s: the schema knows no type %s", name, f.Value.Type())
		}
		_, one["description"] = pflag.UnquoteUsage(f)
		properties[name] = one
	}
	b, err := json.MarshalIndent(map[string]any{
		"$schema":              "https://json-schema.org/draft/2020-12/schema",
		"$id":                  "https://raw.githubusercontent.com/elastic/bpf-kernel-check/main/" + schemaPath,
		"title":                configName,
		"description":          "What bpf-kernel-check runs. The keys are flags of bpf-kernel-check run, plan, merge and publish.",
		"type":                 []string{"object", "null"},
		"properties":           properties,
		"additionalProperties": false,
	}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b) + "\n"
}

// The schema is made of the flags, and takes what the program takes.
func TestReferenceConfigSchema(t *testing.T) {
	text := configSchema(t)
	golden(t, schemaPath, text)
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("x.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("x.json")
	if err != nil {
		t.Fatal(err)
	}
	c := &command{getenv: func(string) string { return "" }, stderr: &bytes.Buffer{}}
	_, example, _ := strings.Cut(readText(t, filepath.Join(repository, ".github/docs/config.md")), "```yaml\n")
	example, _, _ = strings.Cut(example, "```\n")
	for file, good := range map[string]bool{
		example:                                 true,
		"":                                      true,
		"# a\n":                                 true,
		"kernels: debian:bookworm\ntest: ./x\n": true,
		"kernels: [debian:bookworm, ./k]\nkernel: '!*/5.*'\nmin-release: 5.10\n":      true,
		"memory: 512\ncover: true\ntimeout: 1m30s\ntest-timeout: 0\nadvisory: true\n": true,
		"kernls: x\n":         false,
		"memory: [1, 2]\n":    false,
		"cover: 'yes'\n":      false,
		"timeout: soon\n":     false,
		"jobs: many\n":        false,
		"kernels: {a: b}\n":   false,
		"kernels: []\n":       false,
		"kernels: [[a]]\n":    false,
		"net: true\n":         false,
		"host-root: true\n":   false,
		"shard: 1/2\n":        false,
		"- kernels\n":         false,
		"config: other.yml\n": false,
	} {
		path := filepath.Join(t.TempDir(), configName)
		put(t, path, file)
		root := c.root()
		all, err := c.settings(root, path, func(string) bool { return false })
		for _, s := range all {
			for _, cmd := range root.Commands() {
				if err == nil && slices.Contains(hasSettings, cmd.Name()) && cmd.Flags().Lookup(s.Key) != nil {
					err = s.set(cmd)
				}
			}
		}
		if (err == nil) != good {
			t.Errorf("%q: the program says %v", file, err)
		}
		var v any
		if err := yaml.Unmarshal([]byte(file), &v); err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if v, err = jsonschema.UnmarshalJSON(bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(v); (err == nil) != good {
			t.Errorf("%q: the schema says %v", file, err)
		}
	}
}

// A flag that is new is in pathsIn, or here as one that names no file of this
// machine: else a file above the working directory would mean other files.
func TestConfigPaths(t *testing.T) {
	noPaths := []string{
		"accel", "algorithm", "append", "arch", "boot", "bucket", "cgroup", "collect", "env", "kernel", "min-release", "modules", "name", "page-url", "require",
		"stale-expectations", "unsupported", "workdir", "tags", "go-args", "junit", "framework", "flaky", "stdin", "exclude", "loader", "load", "map", "set", "programs", "alternatives", "target", "max-insns-growth", "pick",
	}
	paths := pathsIn(false)
	for name, f := range settable((&command{}).root()) {
		text := strings.HasPrefix(f.Value.Type(), "string")
		if known := paths[name] != nil || slices.Contains(noPaths, name); text && !known {
			t.Errorf("does --%s name a file of this machine?", name)
		}
	}
	for _, tt := range []struct {
		flag, value, want string
		rooted            bool
	}{
		{"kernels", "debian:bookworm", "debian:bookworm", false},
		{"kernels", "./k", "../../k", false},
		{"kernels", "@list.txt", "@../../list.txt", false},
		{"kernels", "fedora:43,key=k.asc", "fedora:43,key=../../k.asc", false},
		{"test", "./probe.test -test.run '^A b$' ./data", "../../probe.test -test.run '^A b$' ./data", false},
		{"test", "probe.test", "../../probe.test", false},
		{"test", "bash ./x", "bash ./x", true},
		{"test", "./bash x", "../../bash x", true},
		{"test", "/bin/x y", "/bin/x y", false},
		{"test", `"unclosed`, `"unclosed`, false},
		{"test", "name=a dir=/d env=A=b -- ./probe.test -- x", "name=a dir=/d env=A=b -- ../../probe.test -- x", false},
		{"test", "-- probe.test", "-- ../../probe.test", false},
		{"test", "name=a --", "name=a ../../--", false}, // the flag says what is wrong
		{"go", "./...", "../../...", false},
		{"go", "../x", "../../../x", false},
		{"go", "example.org/x/...", "example.org/x/...", false},
		{"objects", "build/*.bpf.o", "../../build/*.bpf.o", false},
		{"file", "data:/data", "../../data:/data", false},
		{"file", "/abs", "/abs", false},
		{"module", "macsec", "macsec", false},
		{"module", "m.ko,x=1", "../../m.ko,x=1", false},
		{"rootfs", "debian:bookworm+bpftrace", "debian:bookworm+bpftrace", false},
		{"rootfs", "root.tar", "../../root.tar", false},
		{"library-path", "a:/b:./c", "../../a:/b:../../c", false},
		{"out", "out", "../../out", false},
		{"btf", "btfhub", "../../btfhub", false},
	} {
		got := pathsIn(tt.rooted)[tt.flag]("../..", tt.value)
		if got != tt.want {
			t.Errorf("%s %q becomes %q, want %q", tt.flag, tt.value, got, tt.want)
		}
	}
	for in, want := range map[string]string{"./...": "./sub/...", "../x": "./sub/../x", "/abs/...": "/abs/...", "example.org/x": "example.org/x"} {
		if got := pathsIn(false)["go"]("sub", in); got != want {
			t.Errorf("go %q becomes %q, want %q", in, got, want)
		}
	}
	if got := pathsIn(false)["objects"]("/a[b]", "*.o"); got != `/a\[b]/*.o` {
		t.Error(got)
	}
}

// What is given replaces what the environment says of the same, and that what the
// file says.
func TestSettingsReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), configName)
	put(t, path, `
kernels: [/a, /b]
kernel: x/*
test: /p
workdir: /w
file: /f
shards: 3
rootfs: /r
memory: 200
framework: gtest
junit: [a, b]
isolate: true
rerun-failed-tests: 2
flaky: ok
`)
	for name, tt := range map[string]struct {
		given []string
		env   map[string]string
		want  map[string]string
	}{
		"the file": {want: map[string]string{"kernels": "/a|/b", "kernel": "x/*", "test": "/p", "workdir": "/w", "file": "/f", "shards": "3", "rootfs": "/r", "memory": "200", "framework": "gtest", "junit": "a|b", "isolate": "true", "rerun-failed-tests": "2", "flaky": "ok"}},
		"another payload, source, split and root": {
			given: []string{"objects", "bucket", "target-minutes", "host-root", "repeat"},
			want:  map[string]string{"file": "/f", "memory": "200"},
		},
		"the same by the environment": {
			env:  map[string]string{"BPF_KERNEL_CHECK_OBJECTS": "*.o\n\n b.o ", "BPF_KERNEL_CHECK_BUCKET": "b", "BPF_KERNEL_CHECK_TARGET_MINUTES": "5", "BPF_KERNEL_CHECK_HOST_ROOT": "true", "BPF_KERNEL_CHECK_RERUN_FAILED_TESTS": "1"},
			want: map[string]string{"rerun-failed-tests": "1", "objects": "*.o|b.o", "bucket": "b", "target-minutes": "5", "host-root": "true", "file": "/f", "memory": "200"},
		},
		"a filter alone": {
			given: []string{"kernel", "workdir", "flaky"}, env: map[string]string{"BPF_KERNEL_CHECK_KERNEL": "y", "BPF_KERNEL_CHECK_MEMORY": "300", "BPF_KERNEL_CHECK_SHARD": "1/2", "BPF_KERNEL_CHECK_CPUS": " "},
			want: map[string]string{"kernels": "/a|/b", "test": "/p", "file": "/f", "shards": "3", "rootfs": "/r", "memory": "300", "framework": "gtest", "junit": "a|b", "isolate": "true", "rerun-failed-tests": "2"},
		},
		"the command line before the environment": {
			given: []string{"memory", "test", "kernels", "shards", "rootfs", "file", "rerun-failed-tests"}, env: map[string]string{"BPF_KERNEL_CHECK_MEMORY": "300", "BPF_KERNEL_CHECK_EVENTS_TRACE": "e", "BPF_KERNEL_CHECK_MAINLINE": "m"},
			want: map[string]string{},
		},
	} {
		c := &command{getenv: func(k string) string { return tt.env[k] }, stderr: &bytes.Buffer{}}
		all, err := c.settings(c.root(), path, func(flag string) bool { return slices.Contains(tt.given, flag) })
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, s := range all {
			got[s.Key] = strings.Join(s.Values, "|")
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
		if !maps.EqualFunc(got, c.from, func(string, string) bool { return true }) {
			t.Errorf("%s: places of %v", name, c.from)
		}
	}
}
