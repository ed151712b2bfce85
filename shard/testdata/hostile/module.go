package main

import (
	"bufio"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// A kernel module that does one wrong thing, made here out of a few
// instructions: distributions ship no module that crashes on demand, and to
// build one takes the headers of each kernel. The kernel's own BTF says where
// its structures have their members, and /proc/kallsyms where its functions
// are.
//
// Which wrong thing it does is a function of the module, whose name starts
// with bkc_, so that reports name it.

// loadModule makes the kernel do something wrong. It returns when the kernel
// has survived it.
func loadModule(what string) error {
	m := module{name: "bkc_" + strings.ReplaceAll(what, "-", "_"), scratch: make([]byte, 256)}
	if err := m.look(); err != nil {
		return err
	}
	if err := m.write(what); err != nil {
		return err
	}
	fd, err := unix.MemfdCreate("bkc.ko", 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, m.elf()); err != nil {
		return err
	}
	return unix.FinitModule(fd, "", unix.MODULE_INIT_IGNORE_MODVERSIONS|unix.MODULE_INIT_IGNORE_VERMAGIC)
}

type module struct {
	name    string
	symbols map[string]uint64

	code    []byte
	funcs   []function
	relocs  []reloc // in code
	bugs    []bug
	scratch []byte // .data
	links   []reloc

	size, offName, offInit    uint32 // of struct module
	bugSize, bugAddr, bugFile uint32 // of struct bug_entry
	bugLine, bugFlags         uint32
}

type function struct {
	name     string
	from, to int // in code
}

// reloc is a 64-bit address at offset of target, a section, and addend in it.
type reloc struct {
	offset, target int
	addend         int64
}

// bug makes an invalid instruction one that the kernel knows.
type bug struct {
	offset int
	flags  uint16
}

// The module's sections, by number.
const (
	secText = iota + 1
	secRelaText
	secInfo
	secModule
	secRelaModule
	secBugs
	secRelaBugs
	secStrings
	secData
	secRelaData
	secSymtab
	secStrtab
	secShstrtab
	sections
)

// bugFile is the source file that reports name. Older kernels count its place
// from the entry and newer ones from the member, four bytes on: both find it.
const bugFile = "bkc/bkc/crash.c"

// look reads where things are in this kernel.
func (m *module) look() error {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return fmt.Errorf("read the kernel's BTF: %w", err)
	}
	member := func(s *btf.Struct, name string) (uint32, bool) {
		for _, f := range s.Members {
			if f.Name == name {
				return f.Offset.Bytes(), true
			}
		}
		return 0, false
	}
	var mod, entry *btf.Struct
	if err := spec.TypeByName("module", &mod); err != nil {
		return err
	}
	if err := spec.TypeByName("bug_entry", &entry); err != nil {
		return err
	}
	m.size = mod.Size
	m.offName, _ = member(mod, "name")
	m.offInit, _ = member(mod, "init")
	m.bugSize = entry.Size
	m.bugAddr, _ = member(entry, "bug_addr_disp")
	m.bugFile, _ = member(entry, "file_disp")
	m.bugLine, _ = member(entry, "line")
	m.bugFlags, _ = member(entry, "flags")

	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		return err
	}
	defer f.Close()
	m.symbols = map[string]uint64{}
	s := bufio.NewScanner(f)
	for s.Scan() {
		fields := strings.Fields(s.Text())
		if len(fields) < 3 {
			continue
		}
		if v, err := strconv.ParseUint(fields[0], 16, 64); err == nil && v != 0 {
			m.symbols[fields[2]] = v
		}
	}
	return s.Err()
}

func (m *module) emit(b ...byte) { m.code = append(m.code, b...) }

func (m *module) imm64(v uint64) { m.code = binary.LittleEndian.AppendUint64(m.code, v) }

// call calls the first of the kernel's functions that there is.
func (m *module) call(names ...string) error {
	for _, n := range names {
		if addr := m.symbols[n]; addr != 0 {
			m.emit(0x31, 0xc0, 0x49, 0xbb) // xor eax, eax; movabs r11
			m.imm64(addr)
			m.emit(0x41, 0xff, 0xd3) // call r11
			return nil
		}
	}
	return fmt.Errorf("this kernel has none of the functions %v", names)
}

// Arguments of a call.
func (m *module) arg(n int, v uint64) {
	m.emit([]byte{0x48, 0x48, 0x48, 0x48}[n], []byte{0xbf, 0xbe, 0xba, 0xb9}[n]) // movabs rdi, rsi, rdx, rcx
	m.imm64(v)
}

func (m *module) argAddress(n, section int, addend int64) {
	m.arg(n, 0)
	m.relocs = append(m.relocs, reloc{len(m.code) - 8, section, addend})
}

// fn writes a function with a frame.
func (m *module) fn(name string, body func() error) error {
	start := len(m.code)
	m.emit(0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0x48, 0x89, 0xe5) // endbr64; push rbp; mov rbp, rsp
	err := body()
	m.emit(0x31, 0xc0, 0x5d, 0xc3) // xor eax, eax; pop rbp; ret
	m.funcs = append(m.funcs, function{name, start, len(m.code)})
	for len(m.code)%16 != 0 {
		m.emit(0xcc)
	}
	return err
}

// Flags of struct bug_entry.
const (
	bugWarning  = 1<<0 | 9<<8 // TAINT_WARN
	sleepMillis = 6_000
)

func (m *module) ud2(flags uint16) {
	m.bugs = append(m.bugs, bug{len(m.code), flags})
	m.emit(0x0f, 0x0b)
}

// write makes the code of what is to go wrong. "late-" in front has it happen
// when the VM goes down, "thread-" in a thread of the kernel.
func (m *module) write(what string) error {
	how := ""
	for _, h := range []string{"late", "thread"} {
		if rest, ok := strings.CutPrefix(what, h+"-"); ok {
			how, what = h, rest
		}
	}
	name := "bkc_" + strings.ReplaceAll(what, "-", "_")
	body, ok := m.wrongs()[what]
	if !ok {
		return fmt.Errorf("unknown mode %q of the module", what)
	}
	if err := m.fn(name, body); err != nil {
		return err
	}
	return m.fn("init_module", func() error {
		switch how {
		case "late": // struct notifier_block starts with the function
			m.links = append(m.links, reloc{128, secText, 0})
			m.argAddress(0, secData, 128)
			return m.call("register_reboot_notifier")
		case "thread":
			m.argAddress(0, secText, 0)
			m.arg(1, 0)
			m.arg(2, ^uint64(0)) // on any node
			m.argAddress(3, secStrings, int64(len(bugFile)+1))
			if err := m.call("kthread_create_on_node"); err != nil {
				return err
			}
			m.emit(0x48, 0x89, 0xc7) // mov rdi, rax
			return m.call("wake_up_process")
		}
		m.emit(0xe8) // call
		m.code = binary.LittleEndian.AppendUint32(m.code, uint32(-(len(m.code) + 4)))
		return nil
	})
}

// wrongs are the wrong things.
func (m *module) wrongs() map[string]func() error {
	load := func(addr uint64) func() error {
		return func() error {
			m.emit(0x48, 0xb8) // movabs rax
			m.imm64(addr)
			m.emit(0x8b, 0x00) // mov eax, [rax]
			return nil
		}
	}
	locked := func(then ...byte) func() error {
		return func() error {
			m.argAddress(0, secData, 0)
			err := m.call("_raw_spin_lock")
			m.emit(then...)
			return err
		}
	}
	return map[string]func() error{
		"warn":     func() error { m.ud2(bugWarning); return nil },
		"bug":      func() error { m.ud2(0); return nil },
		"null":     load(0x10),
		"fault":    load(0xffffffffff000000),
		"gp":       load(0xdead000000000100),
		"divide":   func() error { m.emit(0x31, 0xd2, 0x31, 0xc9, 0xf7, 0xf1); return nil }, // div ecx, of zero
		"jump":     func() error { m.emit(0x31, 0xc0, 0xff, 0xd0); return nil },             // call of a null pointer
		"overflow": func() error { m.emit(0xe8, 0xfb, 0xff, 0xff, 0xff); return nil },       // calls itself
		// The watchdog's threads do not get the CPU, with a lock held not even
		// of kernels that preempt.
		"spin": locked(0xf3, 0x90, 0xeb, 0xfc), // pause; jmp
		// The same, while a grace period waits for this CPU.
		"stall": func() error {
			m.argAddress(0, secData, 192)
			m.argAddress(1, secText, 0) // never called
			if err := m.call("call_rcu"); err != nil {
				return err
			}
			return locked(0xf3, 0x90, 0xeb, 0xfc)()
		},
		"dead": locked(0xfa, 0xf3, 0x90, 0xeb, 0xfc), // cli; pause; jmp
		"sleep": func() error {
			m.arg(0, sleepMillis)
			return m.call("msleep")
		},
		"sleep-locked": func() error {
			if err := locked()(); err != nil {
				return err
			}
			m.arg(0, 20)
			err := m.call("msleep")
			m.argAddress(0, secData, 0)
			if uerr := m.call("_raw_spin_unlock"); uerr != nil {
				return uerr
			}
			return err
		},
		"refcount": func() error {
			m.argAddress(0, secData, 16)
			m.arg(1, 3) // REFCOUNT_SUB_UAF
			return m.call("refcount_warn_saturate")
		},
		"list": func() error { // a list whose next does not point back
			m.links = append(m.links, reloc{32, secData, 32}, reloc{40, secData, 32}, reloc{48, secData, 48}, reloc{56, secData, 48})
			m.argAddress(0, secData, 64)
			m.argAddress(1, secData, 32)
			m.argAddress(2, secData, 48)
			return m.call("__list_add_valid_or_report", "__list_add_valid")
		},
		"bounds": func() error { // struct out_of_bounds_data and its types
			const file, array, index = 64, 104, 120
			m.links = append(m.links, reloc{file, secStrings, 0}, reloc{file + 16, secData, array}, reloc{file + 24, secData, index})
			binary.LittleEndian.PutUint32(m.scratch[file+8:], 42)
			binary.LittleEndian.PutUint32(m.scratch[file+12:], 7)
			copy(m.scratch[array:], "\xff\xff\x00\x00'int[4]'")
			copy(m.scratch[index:], "\x00\x00\x0b\x00'int'")
			m.argAddress(0, secData, file)
			m.arg(1, 9)
			return m.call("__ubsan_handle_out_of_bounds")
		},
		"kfence": func() error { // allocates until the guard has it, and reads it when it is free
			pool := m.symbols["__kfence_pool"]
			if pool == 0 {
				return errors.New("this kernel has no KFENCE")
			}
			m.emit(0x53) // push rbx
			loop := len(m.code)
			if err := m.kmalloc(); err != nil {
				return err
			}
			m.emit(0x48, 0xb9) // movabs rcx
			m.imm64(pool)
			m.emit(0x48, 0x8b, 0x09, 0x48, 0x89, 0xc2, 0x48, 0x29, 0xca) // mov rcx, [rcx]; mov rdx, rax; sub rdx, rcx
			m.emit(0x48, 0x81, 0xfa, 0x00, 0x00, 0x20, 0x00, 0x0f, 0x83) // cmp rdx, 2 MiB; jae
			m.code = binary.LittleEndian.AppendUint32(m.code, uint32(loop-(len(m.code)+4)))
			m.emit(0x48, 0x89, 0xdf) // mov rdi, rbx
			err := m.call("kfree")
			m.emit(0x8b, 0x03, 0x5b) // mov eax, [rbx]; pop rbx
			return err
		},
		"poison": func() error { // writes to what is free, and allocates it again
			m.emit(0x53) // push rbx
			if err := m.kmalloc(); err != nil {
				return err
			}
			m.emit(0x48, 0x89, 0xdf) // mov rdi, rbx
			if err := m.call("kfree"); err != nil {
				return err
			}
			m.emit(0xc7, 0x43, 0x08, 0, 0, 0, 0) // mov dword [rbx+8], 0
			err := m.kmalloc()
			m.emit(0x5b) // pop rbx
			return err
		},
	}
}

// kmalloc allocates 32 bytes and leaves their address in rax and rbx.
func (m *module) kmalloc() error {
	m.arg(0, 32)
	m.arg(1, 0xcc0) // GFP_KERNEL
	err := m.call("__kmalloc_noprof", "__kmalloc")
	m.emit(0x48, 0x89, 0xc3) // mov rbx, rax
	return err
}

// elf is the module as a file.
func (m *module) elf() []byte {
	le := binary.LittleEndian
	var data [sections][]byte
	data[secText] = m.code
	data[secInfo] = []byte("license=GPL\x00name=" + m.name + "\x00vermagic=bkc\x00retpoline=Y\x00")
	data[secModule] = make([]byte, m.size)
	copy(data[secModule][m.offName:], m.name)
	data[secStrings] = []byte(bugFile + "\x00bkc_thread\x00")
	data[secData] = m.scratch

	rela := func(offset, section int, kind elf.R_X86_64, addend int64) []byte {
		b := le.AppendUint64(nil, uint64(offset))
		b = le.AppendUint64(b, uint64(section)<<32|uint64(kind)) // symbol n is section n
		return le.AppendUint64(b, uint64(addend))
	}
	for _, r := range m.relocs {
		data[secRelaText] = append(data[secRelaText], rela(r.offset, r.target, elf.R_X86_64_64, r.addend)...)
	}
	for _, r := range m.links {
		data[secRelaData] = append(data[secRelaData], rela(r.offset, r.target, elf.R_X86_64_64, r.addend)...)
	}
	init := m.funcs[len(m.funcs)-1]
	data[secRelaModule] = rela(int(m.offInit), secText, elf.R_X86_64_64, int64(init.from))
	for i, b := range m.bugs {
		at := i * int(m.bugSize)
		entry := make([]byte, m.bugSize)
		le.PutUint16(entry[m.bugLine:], 42)
		le.PutUint16(entry[m.bugFlags:], b.flags)
		data[secBugs] = append(data[secBugs], entry...)
		data[secRelaBugs] = append(data[secRelaBugs], rela(at+int(m.bugAddr), secText, elf.R_X86_64_PC32, int64(b.offset))...)
		data[secRelaBugs] = append(data[secRelaBugs], rela(at+int(m.bugFile), secStrings, elf.R_X86_64_PC32, int64(m.bugFile))...)
	}

	strtab := []byte{0}
	sym := func(name string, info byte, section, value, size int) {
		b := le.AppendUint32(nil, uint32(len(strtab)))
		if name == "" {
			b = le.AppendUint32(nil, 0)
		} else {
			strtab = append(strtab, name+"\x00"...)
		}
		b = append(b, info, 0)
		b = le.AppendUint16(b, uint16(section))
		b = le.AppendUint64(b, uint64(value))
		data[secSymtab] = append(data[secSymtab], le.AppendUint64(b, uint64(size))...)
	}
	sym("", 0, 0, 0, 0)
	for s := secText; s < sections; s++ {
		sym("", byte(elf.STT_SECTION), s, 0, 0)
	}
	for _, f := range m.funcs {
		sym(f.name, byte(elf.STB_GLOBAL)<<4|byte(elf.STT_FUNC), secText, f.from, f.to-f.from)
	}
	data[secStrtab] = strtab

	type header struct {
		name                string
		kind                elf.SectionType
		flags               elf.SectionFlag
		link, info, entsize int
	}
	const a, w, x = elf.SHF_ALLOC, elf.SHF_WRITE, elf.SHF_EXECINSTR
	headers := [sections]header{
		secText:       {".text", elf.SHT_PROGBITS, a | x, 0, 0, 0},
		secRelaText:   {".rela.text", elf.SHT_RELA, elf.SHF_INFO_LINK, secSymtab, secText, 24},
		secInfo:       {".modinfo", elf.SHT_PROGBITS, a, 0, 0, 0},
		secModule:     {".gnu.linkonce.this_module", elf.SHT_PROGBITS, a | w, 0, 0, 0},
		secRelaModule: {".rela.gnu.linkonce.this_module", elf.SHT_RELA, elf.SHF_INFO_LINK, secSymtab, secModule, 24},
		secBugs:       {"__bug_table", elf.SHT_PROGBITS, a | w, 0, 0, 0},
		secRelaBugs:   {".rela__bug_table", elf.SHT_RELA, elf.SHF_INFO_LINK, secSymtab, secBugs, 24},
		secStrings:    {".rodata.str", elf.SHT_PROGBITS, a, 0, 0, 0},
		secData:       {".data", elf.SHT_PROGBITS, a | w, 0, 0, 0},
		secRelaData:   {".rela.data", elf.SHT_RELA, elf.SHF_INFO_LINK, secSymtab, secData, 24},
		secSymtab:     {".symtab", elf.SHT_SYMTAB, 0, secStrtab, sections, 24}, // the first symbol that is not local
		secStrtab:     {".strtab", elf.SHT_STRTAB, 0, 0, 0, 0},
		secShstrtab:   {".shstrtab", elf.SHT_STRTAB, 0, 0, 0, 0},
	}
	names := []byte{0}
	var at [sections]int
	for s := secText; s < sections; s++ {
		at[s] = len(names)
		names = append(names, headers[s].name+"\x00"...)
	}
	data[secShstrtab] = names

	const headerSize, sectionHeaderSize, align = 64, 64, 64
	body := make([]byte, headerSize)
	table := make([]byte, sectionHeaderSize)
	for s := secText; s < sections; s++ {
		for len(body)%align != 0 {
			body = append(body, 0)
		}
		h := headers[s]
		var b bytes.Buffer
		_ = binary.Write(&b, le, elf.Section64{
			Name: uint32(at[s]), Type: uint32(h.kind), Flags: uint64(h.flags), Off: uint64(len(body)), Size: uint64(len(data[s])),
			Link: uint32(h.link), Info: uint32(h.info), Addralign: 16, Entsize: uint64(h.entsize),
		})
		table = append(table, b.Bytes()...)
		body = append(body, data[s]...)
	}
	var b bytes.Buffer
	_ = binary.Write(&b, le, elf.Header64{
		Ident:   [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:    uint16(elf.ET_REL),
		Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT), Shoff: uint64(len(body)),
		Ehsize: headerSize, Shentsize: sectionHeaderSize, Shnum: sections, Shstrndx: secShstrtab,
	})
	copy(body, b.Bytes())
	return append(body, table...)
}
