package build

import (
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

// definition is one "config NAME" of a tree's Kconfig files.
type definition struct {
	at      string   // file:line
	depends []string // its "depends on" lines, as they stand there
}

const maxKconfigFile = 4 << 20 // bytes

// definitions finds where the tree defines the options. Definitions of other
// architectures do not count.
func definitions(tree fs.FS, arch Arch, options []Option) (map[string][]definition, error) {
	wanted := make(map[string]bool, len(options))
	for _, o := range options {
		wanted[o.Name] = true
	}
	found := make(map[string][]definition)
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path.Dir(name) == "arch" && d.Name() != arch.Dir:
			return fs.SkipDir
		case !d.Type().IsRegular() || !strings.HasPrefix(d.Name(), "Kconfig"):
			return nil
		}
		f, err := tree.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		text, err := io.ReadAll(io.LimitReader(f, maxKconfigFile))
		if err != nil {
			return err
		}
		for option, defs := range definitionsIn(name, string(text), wanted) {
			found[option] = append(found[option], defs...)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the tree's Kconfig: %w", err)
	}
	return found, nil
}

// definitionsIn reads one file. Entries start in the first column, their
// attributes are indented, and a help text is the last of them.
func definitionsIn(name, text string, wanted map[string]bool) map[string][]definition {
	found := make(map[string][]definition)
	var option string // whose entry this is, "" for one that is not wanted
	number := 0
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", "\v")) {
		number += 1 + strings.Count(line, "\v")
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || fields[0][0] == '#':
		case line[0] != ' ' && line[0] != '\t':
			option = ""
			if len(fields) > 1 && (fields[0] == "config" || fields[0] == "menuconfig") && wanted[fields[1]] {
				option = fields[1]
				found[option] = append(found[option], definition{at: fmt.Sprintf("%s:%d", name, number)})
			}
		case option == "":
		case fields[0] == "help" || fields[0] == "---help---":
			option = ""
		case fields[0] == "depends":
			def := &found[option][len(found[option])-1]
			def.depends = append(def.depends, strings.Join(fields, " "))
		}
	}
	return found
}

// explain says in one line that the configuration does not have an option as
// it is wanted, and what the tree says about it.
func explain(o Option, c image.Config, defs []definition) string {
	s := fmt.Sprintf("CONFIG_%s is %s, not %s", o.Name, cmp.Or(c[o.Name], "n"), o.Value)
	if len(defs) == 0 {
		return s + ": this tree has no such option"
	}
	var quoted []string
	for _, d := range defs {
		q := d.at
		if len(d.depends) > 0 {
			q += ": " + strings.Join(d.depends, ", ")
		}
		quoted = append(quoted, q)
	}
	return s + " (" + strings.Join(quoted, "; ") + ")"
}
