package main

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/github"
	"github.com/elastic/bpf-kernel-check/report/screen"
	"github.com/elastic/bpf-kernel-check/shard"
)

// hostileText tries to be a command of the runner in every way, and a line of
// ours.
const hostileText = "#\u200b#[set-output name=cache-save-key]x##\u00ad[group]\r\n\ufeff::error::x\u2028::add-mask::y\x85:\u200b:z\n[PASS] debian/forged\x1b[2J\x1b[1A"

// checkLog fails where a line of a job's log is a command, or pretends to be a
// result.
func checkLog(t *testing.T, log string) {
	t.Helper()
	for line := range strings.SplitSeq(log, "\n") {
		if strings.Contains(line, "##[") || strings.HasPrefix(strings.TrimSpace(line), "::") && !strings.HasPrefix(line, "::error title=bpf-kernel-check") {
			t.Errorf("a command: %q", line)
		}
		if strings.HasPrefix(line, "[PASS] debian/forged") {
			t.Errorf("a result that is none: %q", line)
		}
		if report.Text(line) != line {
			t.Errorf("it cannot all be seen: %q", line)
		}
	}
}

// poison puts hostile text into every string that v holds.
func poison(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() && v.CanSet() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		poison(v.Elem())
	case reflect.Struct:
		if v.Type().PkgPath() == "time" {
			return
		}
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				poison(v.Field(i))
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() != reflect.Uint8 {
			v.Set(reflect.MakeSlice(v.Type(), 2, 2))
			for i := range v.Len() {
				poison(v.Index(i))
			}
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		if v.Type().Key().Kind() == reflect.String {
			elem := reflect.New(v.Type().Elem()).Elem()
			poison(elem)
			v.SetMapIndex(reflect.ValueOf(hostileText).Convert(v.Type().Key()), elem)
		}
	case reflect.String:
		v.SetString(hostileText)
	}
}

// Whatever a kernel's result holds, none of it is a command or a line of ours.
func TestHostileResultOnScreen(t *testing.T) {
	for _, verdict := range []report.Verdict{report.Pass, report.Fail, report.Crash, report.Timeout, report.NoBoot, report.Infra, report.Missing} {
		for _, whole := range []bool{true, false} {
			var k report.Result
			if whole {
				poison(reflect.ValueOf(&k).Elem())
				for i := range k.Tests {
					k.Tests[i].Verdict = "fail"
				}
				k.Reused = nil
			} else {
				k.Cause = &report.Cause{Title: hostileText, Excerpt: hostileText}
			}
			k.ID, k.Verdict = "debian/6.1.0", verdict
			var b bytes.Buffer
			log := github.NewLog(&b)
			p := screen.New(log, screen.Options{Dir: ".", Total: 1})
			show(p, shard.Event{ID: k.ID, State: shard.Retrying, Reason: hostileText})
			show(p, shard.Event{ID: k.ID, State: shard.Emulating, Reason: hostileText})
			p.Repeated(k.ID, 1, k)
			show(p, shard.Event{ID: k.ID, State: shard.Done, Result: k})
			p.End(report.RunOutcome(1, []report.Result{k}, false), []report.Result{k})
			m := &report.Merged{Kernels: []report.Result{k}, Verdict: verdict, Refusals: []report.Refusal{{Reason: hostileText}}, RunID: hostileText}
			p.Merged(m, 1, []string{hostileText}, []string{"x"})
			if err := log.Flush(); err != nil {
				t.Fatal(err)
			}
			checkLog(t, b.String())
			if !strings.Contains(b.String(), "## [set-output") {
				t.Errorf("%v: nothing of it is shown:\n%s", verdict, b.String())
			}
		}
	}
}

// Errors quote what was given, in a job as an annotation too.
func TestHostileArguments(t *testing.T) {
	for _, args := range [][]string{
		{hostileText},
		{"run", "--" + hostileText},
		{"run", "--jobs", hostileText},
		{"run", "--kernels", hostileText, "--test", "./x"},
		{"run", "--kernels", t.TempDir(), "--test", hostileText},
		{"run", "--kernels", t.TempDir(), "--test", "./x", "--env", hostileText},
		{"run", "--kernels", t.TempDir(), "--test", "./x", "--accel", hostileText},
		{"run", "--kernels", t.TempDir(), "--events-trace", hostileText},
		{"run", "--kernels", t.TempDir(), "--objects", hostileText},
		{"list", "--kernels", "debian:" + hostileText},
		{"list", "--kernels", "rpm:http://127.0.0.1:1/" + hostileText},
		{"plan", "--kernels", "./" + hostileText, "--shards", "2"},
		{"merge", hostileText},
		{"publish", hostileText},
		{"publish", "--name", hostileText},
		{"debug", hostileText},
		{"build-kernels", "--source", hostileText},
		{"action", "run"},
	} {
		t.Run(fmt.Sprintf("%.40q", args), func(t *testing.T) {
			env := map[string]string{
				"GITHUB_ACTIONS": "true", "CI": "true", "GITHUB_RUN_ID": hostileText, "GITHUB_RUN_ATTEMPT": hostileText,
				"GITHUB_REPOSITORY": hostileText, "GITHUB_EVENT_PATH": hostileText, "INPUTS": `{"` + strings.ReplaceAll(hostileText, "\r\n", `\n`) + `":1}`,
			}
			var out, errs bytes.Buffer
			args = append(args, "--cache", t.TempDir())
			if code := run(t.Context(), args, strings.NewReader(""), &out, &errs, func(k string) string { return env[k] }); code == report.ExitPass {
				t.Error("it passes")
			}
			if out.Len()+errs.Len() == 0 {
				t.Error("it says nothing")
			}
			checkLog(t, out.String())
			checkLog(t, errs.String())
		})
	}
}

// In a job the output of commands in a guest goes into the job's log; elsewhere
// it may be data.
func TestScriptOut(t *testing.T) {
	for ci, want := range map[string]string{"": "##[group]\x1b", "true": "## [group]\n"} {
		var b bytes.Buffer
		log := github.NewLog(&b)
		c := &command{stdout: log, getenv: func(k string) string { return map[string]string{"CI": ci}[k] }}
		if _, err := io.WriteString(c.scriptOut(), "##[group]\x1b"); err != nil {
			t.Fatal(err)
		}
		if err := log.Flush(); err != nil {
			t.Fatal(err)
		}
		if b.String() != want {
			t.Errorf("CI=%s: %q, want %q", ci, b.String(), want)
		}
	}
}

// Completion scripts are for shells: nothing in them is changed.
func TestCompletionAsItIs(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		var out, plain bytes.Buffer
		if code := run(t.Context(), []string{"completion", shell}, nil, &out, io.Discard, func(string) string { return "" }); code != report.ExitPass {
			t.Fatalf("%s: exit code %d", shell, code)
		}
		c := &command{stdout: &plain, stderr: io.Discard}
		root := c.root()
		root.SetArgs([]string{"completion", shell})
		if err := root.Execute(); err != nil {
			t.Fatal(err)
		}
		if strings.TrimSuffix(out.String(), "\n") != strings.TrimSuffix(plain.String(), "\n") {
			t.Errorf("the script for %s is changed", shell)
		}
	}
}
