package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

const bpfUsage = `prog list | prog show ID|NAME | prog dump xlated ID|NAME | prog log OBJECT [PROGRAM]
       bpf map list | map dump ID|NAME
       bpf link list
       bpf btf TYPE | tracelog`

// bpfCommand has the basics of bpftool.
func bpfCommand(ctx context.Context, args []string, std stdio) error {
	word := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	switch what, verb := word(0), word(1); {
	case what == "prog" && (verb == "list" || verb == "show" && len(args) == 2 || verb == "") && len(args) <= 2:
		return listPrograms(std.out)
	case what == "prog" && verb == "show" && len(args) == 3:
		return showProgram(std.out, args[2])
	case what == "prog" && verb == "dump" && word(2) == "xlated" && len(args) == 4:
		return dumpProgram(std.out, args[3])
	case what == "prog" && verb == "log" && (len(args) == 3 || len(args) == 4):
		return verifierLog(std.out, args[2], word(3))
	case what == "map" && (verb == "list" || verb == "show" || verb == "") && len(args) <= 2:
		return listMaps(std.out)
	case what == "map" && verb == "dump" && len(args) == 3:
		return dumpMap(std.out, args[2])
	case what == "link" && (verb == "list" || verb == "show" || verb == "") && len(args) <= 2:
		return listLinks(std.out)
	case what == "btf" && len(args) == 2:
		return printType(std.out, verb)
	case (what == "tracelog" || what == "prog" && verb == "tracelog") && len(args) <= 2:
		return tracePipe(ctx, nil, std)
	}
	return errUsage
}

// loaded are the programs or maps of this kernel: how to get the next one's id, to
// open it, and to ask what it is.
type loaded[ID ~uint32, T io.Closer, Info any] struct {
	what string
	next func(ID) (ID, error)
	open func(ID) (T, error)
	info func(T) (Info, error)
	name func(Info) string
}

var (
	programs = loaded[ebpf.ProgramID, *ebpf.Program, *ebpf.ProgramInfo]{
		"program", ebpf.ProgramGetNextID, ebpf.NewProgramFromID, (*ebpf.Program).Info,
		func(info *ebpf.ProgramInfo) string { return info.Name },
	}
	kernelMaps = loaded[ebpf.MapID, *ebpf.Map, *ebpf.MapInfo]{
		"map", ebpf.MapGetNextID, ebpf.NewMapFromID, (*ebpf.Map).Info,
		func(info *ebpf.MapInfo) string { return info.Name },
	}
)

// each calls do with each of them.
func (l loaded[ID, T, Info]) each(do func(id ID, t T, info Info) error) error {
	for id := ID(0); ; {
		next, err := l.next(id)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list %ss: %w", l.what, err)
		}
		id = next
		t, err := l.open(id)
		if errors.Is(err, os.ErrNotExist) {
			continue // it is gone
		}
		if err != nil {
			return fmt.Errorf("open %s %d: %w", l.what, id, err)
		}
		info, err := l.info(t)
		if err == nil {
			err = do(id, t, info)
		}
		t.Close()
		if err != nil {
			return fmt.Errorf("%s %d: %w", l.what, id, err)
		}
	}
}

// find calls do with those of a number or name.
func (l loaded[ID, T, Info]) find(which string, do func(id ID, t T, info Info) error) error {
	number, nerr := strconv.ParseUint(which, 10, 32)
	found := false
	err := l.each(func(id ID, t T, info Info) error {
		if nerr == nil && uint64(id) != number || nerr != nil && l.name(info) != which {
			return nil
		}
		found = true
		return do(id, t, info)
	})
	if err == nil && !found {
		return fmt.Errorf("no %s %q: bpf %s list shows them", l.what, which, strings.TrimSuffix(l.what, "ram"))
	}
	return err
}

func listPrograms(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "ID\tTYPE\tNAME\tINSNS\tMAPS\tTAG")
	n := 0
	err := programs.each(func(id ebpf.ProgramID, _ *ebpf.Program, info *ebpf.ProgramInfo) error {
		n++
		fmt.Fprintf(tw, "%d\t%v\t%s\t%s\t%s\t%s\n", id, info.Type, info.Name, instructionCount(info), mapIDs(info), info.Tag)
		return nil
	})
	err = errors.Join(err, tw.Flush())
	if err == nil && n == 0 {
		fmt.Fprintln(w, "no programs are loaded")
	}
	return err
}

func instructionCount(info *ebpf.ProgramInfo) string {
	size, err := info.TranslatedSize()
	if err != nil {
		return "?"
	}
	return strconv.Itoa(size / 8)
}

func mapIDs(info *ebpf.ProgramInfo) string {
	ids, ok := info.MapIDs()
	if !ok || len(ids) == 0 {
		return "-"
	}
	var words []string
	for _, id := range ids {
		words = append(words, strconv.Itoa(int(id)))
	}
	return strings.Join(words, ",")
}

func showProgram(w io.Writer, which string) error {
	return programs.find(which, func(id ebpf.ProgramID, _ *ebpf.Program, info *ebpf.ProgramInfo) error {
		fmt.Fprintf(w, "%d: %v %s, tag %s\n", id, info.Type, info.Name, info.Tag)
		fmt.Fprintf(w, "  instructions: %s after the verifier\n", instructionCount(info))
		if n, err := info.JitedSize(); err == nil {
			fmt.Fprintf(w, "  machine code: %d bytes\n", n)
		}
		if n, ok := info.VerifiedInstructions(); ok {
			fmt.Fprintf(w, "  processed by the verifier: %d instructions\n", n)
		}
		if n, ok := info.Memlock(); ok {
			fmt.Fprintf(w, "  locked memory: %d bytes\n", n)
		}
		if n, ok := info.CreatedByUID(); ok {
			fmt.Fprintf(w, "  loaded by uid %d\n", n)
		}
		if n, ok := info.BTFID(); ok {
			fmt.Fprintf(w, "  BTF: %d\n", n)
		}
		fmt.Fprintf(w, "  maps: %s\n", mapIDs(info))
		return nil
	})
}

func dumpProgram(w io.Writer, which string) error {
	return programs.find(which, func(id ebpf.ProgramID, _ *ebpf.Program, info *ebpf.ProgramInfo) error {
		insns, err := info.Instructions()
		if err != nil {
			return fmt.Errorf("read its instructions: %w (sysctl kernel.kptr_restrict and net.core.bpf_jit_harden may forbid it)", err)
		}
		fmt.Fprintf(w, "%d: %s\n%v", id, info.Name, insns)
		return nil
	})
}

// verifierLog loads the programs of an object, each alone, and prints what the
// verifier has to say of each.
func verifierLog(w io.Writer, path, only string) error {
	spec, err := ebpf.LoadCollectionSpec(path)
	if err != nil {
		return err
	}
	if only != "" && spec.Programs[only] == nil {
		var names []string
		for name := range spec.Programs {
			names = append(names, name)
		}
		return fmt.Errorf("%s has no program %q: want one of %s", path, only, strings.Join(names, " "))
	}
	for _, m := range spec.Maps {
		m.Pinning = ebpf.PinNone
	}
	var failed error
	for name := range spec.Programs {
		if only != "" && name != only {
			continue
		}
		one := spec.Copy()
		for other := range one.Programs {
			if other != name {
				delete(one.Programs, other)
			}
		}
		coll, err := ebpf.NewCollectionWithOptions(one, ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{
			LogLevel: ebpf.LogLevelInstruction | ebpf.LogLevelStats,
		}})
		if err != nil {
			fmt.Fprintf(w, "%s: does not load\n%+v\n", name, err)
			failed = status(exitFailure)
			continue
		}
		fmt.Fprintf(w, "%s: loads\n%s\n", name, coll.Programs[name].VerifierLog)
		coll.Close()
	}
	return failed
}

func listMaps(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "ID\tTYPE\tNAME\tKEY\tVALUE\tENTRIES")
	n := 0
	err := kernelMaps.each(func(id ebpf.MapID, _ *ebpf.Map, info *ebpf.MapInfo) error {
		n++
		fmt.Fprintf(tw, "%d\t%v\t%s\t%d\t%d\t%d\n", id, info.Type, info.Name, info.KeySize, info.ValueSize, info.MaxEntries)
		return nil
	})
	err = errors.Join(err, tw.Flush())
	if err == nil && n == 0 {
		fmt.Fprintln(w, "there are no maps")
	}
	return err
}

// dumpMap prints keys and values as bytes.
func dumpMap(w io.Writer, which string) error {
	return kernelMaps.find(which, func(id ebpf.MapID, m *ebpf.Map, info *ebpf.MapInfo) error {
		fmt.Fprintf(w, "%d: %v %s\n", id, info.Type, info.Name)
		var key, value []byte
		var values [][]byte // of a map that has one for each CPU
		into := any(&value)
		switch info.Type {
		case ebpf.RingBuf, ebpf.PerfEventArray, ebpf.Queue, ebpf.Stack:
			return fmt.Errorf("a %v has no entries to print", info.Type)
		case ebpf.PerCPUHash, ebpf.PerCPUArray, ebpf.LRUCPUHash, ebpf.PerCPUCGroupStorage:
			into = &values
		}
		n := 0
		it := m.Iterate()
		for it.Next(&key, into) {
			n++
			if values == nil {
				fmt.Fprintf(w, "key % x  value % x\n", key, value)
			}
			for cpu, v := range values {
				fmt.Fprintf(w, "key % x  cpu %d  value % x\n", key, cpu, v)
			}
		}
		if err := it.Err(); err != nil {
			return err
		}
		fmt.Fprintf(w, "%d entries\n", n)
		return nil
	})
}

// linkTypes are the names of enum bpf_link_type (include/uapi/linux/bpf.h).
func linkTypes() []string {
	return []string{"unspecified", "raw_tracepoint", "tracing", "cgroup", "iter", "netns", "xdp", "perf_event", "kprobe_multi", "struct_ops", "netfilter", "tcx", "uprobe_multi", "netkit", "sockmap"}
}

func listLinks(w io.Writer) error {
	var rows []string
	var err error
	// A link that is just being made cannot be opened yet.
	for range 20 {
		if rows, err = linkRows(); !errors.Is(err, unix.EAGAIN) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("list links: %w (kernels before 5.8 cannot)", err)
	}
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	if len(rows) == 0 {
		fmt.Fprintln(w, "there are no links; programs that are attached by perf events, as old libraries do, have none")
		return nil
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "ID\tTYPE\tPROGRAM")
	for _, r := range rows {
		fmt.Fprintln(tw, r)
	}
	return tw.Flush()
}

func linkRows() ([]string, error) {
	var rows []string
	it := &link.Iterator{}
	defer it.Close()
	for it.Next() {
		info, err := it.Link.Info()
		if err != nil {
			return nil, fmt.Errorf("link %d: %w", it.ID, err)
		}
		name := strconv.Itoa(int(info.Type))
		if names := linkTypes(); int(info.Type) < len(names) {
			name = names[info.Type]
		}
		rows = append(rows, fmt.Sprintf("%d\t%s\t%d", info.ID, name, info.Program))
	}
	return rows, it.Err()
}
