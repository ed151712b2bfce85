package main

import (
	"slices"
	"testing"
)

// Every probe has its programs in the object, every event a probe.
func TestProbesMatchObject(t *testing.T) {
	spec, err := loadSpec()
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	told := map[string]bool{}
	all := probes()
	for _, p := range probes() {
		if p.otherwise != nil {
			all = append(all, *p.otherwise)
		}
	}
	for _, p := range all {
		programs := []string{p.name}
		switch p.kind {
		case entry:
			programs = []string{"fentry_" + p.name, "kprobe_" + p.name}
		case exit:
			programs = []string{"fexit_" + p.name, "kentry_" + p.name, "kexit_" + p.name}
		}
		for _, name := range programs {
			if spec.Programs[name] == nil {
				t.Errorf("probe %s: no program %s", p.name, name)
			}
			used[name] = true
		}
		for _, e := range p.events {
			told[e] = true
		}
	}
	for name := range spec.Programs {
		if !used[name] {
			t.Errorf("no probe uses program %s", name)
		}
	}
	for _, typ := range typeNames {
		if !told[typ] {
			t.Errorf("no probe tells %s", typ)
		}
	}
}

// What every test of EventsTrace needs must not be missing silently.
func TestRequiredEvents(t *testing.T) {
	want := []string{typeFork, typeExec, typeExit, typeFileCreate, typeFileRename, typeFileDelete, typeSetuid, typeSetgid}
	for _, p := range probes() {
		for _, e := range p.events {
			if slices.Contains(want, e) && !p.required {
				t.Errorf("probe %s of %s is not required", p.name, e)
			}
		}
	}
}
