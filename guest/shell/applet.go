package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/u-root/u-root/pkg/core"
	"github.com/u-root/u-root/pkg/core/base64"
	"github.com/u-root/u-root/pkg/core/cat"
	"github.com/u-root/u-root/pkg/core/chmod"
	"github.com/u-root/u-root/pkg/core/cp"
	"github.com/u-root/u-root/pkg/core/find"
	"github.com/u-root/u-root/pkg/core/ls"
	"github.com/u-root/u-root/pkg/core/mkdir"
	"github.com/u-root/u-root/pkg/core/mktemp"
	"github.com/u-root/u-root/pkg/core/mv"
	"github.com/u-root/u-root/pkg/core/rm"
	"github.com/u-root/u-root/pkg/core/shasum"
	"github.com/u-root/u-root/pkg/core/tar"
	"github.com/u-root/u-root/pkg/core/touch"
	"github.com/u-root/u-root/pkg/core/xargs"
	"mvdan.cc/sh/v3/interp"
)

// stdio are a command's standard streams.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// applet is one command.
type applet struct {
	usage string // its arguments; "" for those of u-root, which know their own
	what  string // in a few words
	do    func(args []string, io stdio) error
}

// errUsage asks for a command's usage to be printed.
var errUsage = errors.New("wrong usage")

// run runs a command. An interrupt ends the program.
func (a applet) run(name string, args []string, io stdio) int {
	err := a.do(args, io)
	var code interp.ExitStatus // needs no words
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	case errors.Is(err, errUsage), errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(io.err, "usage: %s %s\n%s\n", name, a.usage, a.what)
		return exitUsage
	}
	fmt.Fprintf(io.err, "%s: %v\n", name, err)
	return exitFailure
}

// applets are all commands by their names.
func applets() map[string]applet {
	all := map[string]applet{
		"base64":   uroot("encode or decode", base64.New),
		"bpf":      {bpfUsage, "BPF programs, maps and links of this kernel", bpfCommand},
		"cat":      uroot("print files", cat.New),
		"chmod":    uroot("change modes", chmod.New),
		"chroot":   {"DIR [PROGRAM ARGS...]", "run a program, or a shell, with DIR as its root", chroot},
		"cp":       uroot("copy files", cp.New),
		"dmesg":    {"[-c]", "print the kernel's log; -c clears it", dmesg},
		"env":      {"[-i] [K=V...] [PROGRAM ARGS...]", "print the environment, or run a program in another", env},
		"find":     uroot("find files", find.New),
		"grep":     {"[-ivnlcrFEo] PATTERN [FILE...]", "print the lines that match an RE2 pattern", grep},
		"head":     {"[-n N] [FILE...]", "print the first lines", head},
		"help":     {"", "print this list", help},
		"insmod":   {"FILE [PARAM=VALUE...]", "load a kernel module", insmod},
		"kill":     {"[-SIGNAL] PID...", "send a signal", kill},
		"ln":       {"-s TARGET NAME", "make a symbolic link", ln},
		"ls":       uroot("list files", ls.New),
		"mkdir":    uroot("make directories", mkdir.New),
		"mktemp":   uroot("make a temporary file", mktemp.New),
		"mount":    {"[-t TYPE] [-o OPTIONS] [WHAT DIR]", "list or add mounts", mount},
		"mv":       uroot("move files", mv.New),
		"poweroff": {"", "end the VM", poweroff},
		"ps":       {"", "list processes", ps},
		"rm":       uroot("remove files", rm.New),
		"rmmod":    {"NAME", "remove a kernel module", rmmod},
		"setsid":   {"PROGRAM ARGS...", "run a program in a session of its own, without the terminal's input", setsid},
		"shasum":   uroot("checksums", shasum.New),
		"sleep":    {"SECONDS", "wait", sleep},
		"sort":     {"[-nru] [FILE...]", "sort lines", sortLines},
		"sysctl":   {"NAME[=VALUE]...", "print or set kernel settings", sysctl},
		"tail":     {"[-n N] [FILE...]", "print the last lines", tail},
		"tar":      uroot("pack and unpack", tar.New),
		"tee":      {"[-a] [FILE...]", "copy to files and to the output", tee},
		"touch":    uroot("make files, set their times", touch.New),
		"umount":   {"DIR...", "remove mounts", umount},
		"uname":    {"[-a|-snrvm]", "print the kernel's name and release", uname},
		"wc":       {"[-lwc] [FILE...]", "count lines, words and bytes", wc},
		"xargs":    uroot("run a program with arguments from the input", xargs.New),
	}
	if strace != nil {
		all["strace"] = applet{"PROGRAM ARGS...", "print a program's system calls", strace}
	}
	return all
}

// uroot is a command of u-root's.
func uroot(what string, command func() core.Command) applet {
	return applet{"", what, func(args []string, io stdio) error {
		cmd := command()
		cmd.SetIO(io.in, io.out, io.err)
		return cmd.Run(args...)
	}}
}

func appletNames() string {
	return strings.Join(slices.Sorted(maps.Keys(applets())), " ")
}

func help(_ []string, io stdio) error {
	all := applets()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		a := all[name]
		line := name
		if a.usage != "" && !strings.Contains(a.usage, "\n") {
			line += " " + a.usage
		}
		fmt.Fprintf(io.out, "  %-44s %s\n", line, a.what)
	}
	fmt.Fprint(io.out, `
The shell has the usual rest: pipes, redirections, variables, if, for, functions,
cd, echo, printf, test, export; & puts a command into the background. Tab
completes, Ctrl-C interrupts.
run-payload runs the payload as init would. exit, Ctrl-D or Ctrl-A X ends the VM.
`)
	return nil
}

// flags parses single-letter flags that take no value, joined or not, and
// returns them and the other arguments. "--" ends them.
func flags(args []string, valid string) (set map[rune]bool, rest []string, err error) {
	set = map[rune]bool{}
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		a := args[0]
		args = args[1:]
		if a == "--" {
			break
		}
		for _, r := range a[1:] {
			if !strings.ContainsRune(valid, r) {
				return nil, nil, errUsage
			}
			set[r] = true
		}
	}
	return set, args, nil
}

// each calls do with each file, or with the standard input when none is named.
func each(files []string, std stdio, do func(r io.Reader, name string) error) error {
	if len(files) == 0 {
		return do(std.in, "")
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		err = do(f, name)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
