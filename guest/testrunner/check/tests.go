package check

// Test is one row of the table of what must hold.
type Test struct {
	Name      string
	Generator string   // the generator that makes its events happen; empty: none
	Expect    []Expect // events, found by their identifying fields
	Ordered   bool     // they must come in the order of Expect
	Init      []Field  // fields of the init line
	IPv6      bool     // needs a kernel with IPv6
	Overlayfs bool     // needs a kernel with overlayfs
}

// Expect is one event that must come exactly once.
type Expect struct {
	Type   string
	Fields []Field
	Others bool   // other events of this type and process are none of the test's business
	Newer  bool   // EventsTrace did not always report it: builds that are Older may not
	What   string // of which side it is, where Newer
}

// Field is one condition on an event.
type Field struct {
	Path      string
	Rule      Rule
	Want      any    // a literal or a Ref
	ID        bool   // the event is found by it; the field ending in "tgid" selects the process
	Newer     bool   // EventsTrace did not always print it: builds that are Older may lack it
	Older     any    // what an Older build may print instead
	OlderPath string // where an Older build may have it
	Former    bool   // only Older builds print it: held to where it is printed
}

// Rule relates a field to what is wanted.
type Rule int

// The rules. Want is a value for all but SameAs, where it is a path in the
// same event.
const (
	Equal Rule = iota
	Not
	SameAs
	Has // an array holds the value
)

// Ref is a wanted value that is only known when the generator has run.
type Ref struct {
	From   Source
	Path   string
	Expect int // index of the event, for FromEvent
	Else   any // what is wanted when there is no such value; nil: that is an error
}

// Source is where a Ref points.
type Source int

// The sources.
const (
	FromGenerator Source = iota + 1 // what the generator printed
	FromFacts                       // what the machine says
	FromEvent                       // an event that an earlier Expect of the test found
)

func (r Ref) or(v any) Ref { r.Else = v; return r }

func gen(path string) Ref              { return Ref{From: FromGenerator, Path: path} }
func fact(path string) Ref             { return Ref{From: FromFacts, Path: path} }
func seen(expect int, path string) Ref { return Ref{From: FromEvent, Path: path, Expect: expect} }
func is(path string, want any) Field   { return Field{Path: path, Want: want} }
func id(path string, want any) Field   { return Field{Path: path, Want: want, ID: true} }
func not(path string, want any) Field  { return Field{Path: path, Want: want, Rule: Not} }
func same(path, other string) Field    { return Field{Path: path, Want: other, Rule: SameAs} }
func has(path string, want any) Field  { return Field{Path: path, Want: want, Rule: Has} }
func fields(groups ...[]Field) (f []Field) {
	for _, g := range groups {
		f = append(f, g...)
	}
	return f
}

// newer marks fields that EventsTrace did not always print.
func newer(fields ...Field) []Field {
	for i := range fields {
		fields[i].Newer = true
	}
	return fields
}

// printed are fields of a path that the generator printed under the same names.
func printed(path string, names ...string) (f []Field) {
	for _, name := range names {
		f = append(f, is(path+name, gen(name)))
	}
	return f
}

// pids are the ids of a process that the generator printed as an object; the
// event is found by the thread group.
func pids(path, printed string) []Field {
	if printed != "" {
		printed += "."
	}
	f := []Field{id(path+".tgid", gen(printed+"tgid"))}
	for _, name := range []string{"tid", "ppid", "pgid", "sid"} {
		f = append(f, is(path+"."+name, gen(printed+name)))
	}
	return f
}

// namespaces are those of this machine.
func namespaces(names ...string) (f []Field) {
	for _, name := range names {
		f = append(f, is("ns."+name, fact("ns."+name)))
	}
	return newer(f...)
}

// leader finds an event by a process of which only the pid was printed.
func leader(pid Ref) []Field { return []Field{id("pids.tgid", pid), is("pids.tid", pid)} }

func caps(permitted, effective any) []Field {
	return newer(is("creds.cap_permitted", permitted), is("creds.cap_effective", effective))
}

// file is a regular file of root's.
func file(mode, size int) []Field {
	return newer(
		is("file_info.type", "FILE"),
		not("file_info.inode", 0),
		is("file_info.mode", mode),
		is("file_info.size", size),
		is("file_info.uid", 0),
		is("file_info.gid", 0),
	)
}

// modify is one change of the file, told from the others by kind and size.
func modify(kind string, size int) Expect {
	return Expect{Type: "FILE_MODIFY", Fields: fields(
		pids("pids", "pid_info"),
		[]Field{
			id("change_type", kind),
			id("file_info.size", size),
			is("path", gen("filename_new")),
			is("file_info.mode", 100777),
			is("file_info.type", "FILE"),
			not("file_info.inode", 0),
			is("file_info.uid", 0),
			is("file_info.gid", 0),
		})}
}

// conn is one side of a connection over the loopback. The side is part of its
// identity, because both sides belong to one process.
func conn(event, generator, family, address string, from, to Ref) Expect {
	return Expect{Type: event, Fields: fields(
		pids("pids", "pid_info"),
		[]Field{
			id("net.source_port", from),
			id("net.destination_port", to),
			is("net.transport", "TCP"),
			is("net.family", family),
			is("net.source_address", address),
			is("net.destination_address", address),
			is("net.network_namespace", gen("netns")),
		},
		newer(is("comm", generator)))}
}

// files is the generator of the tests of files.
const files = "create_rename_delete_file"

// one is a test of a single event.
func one(name, generator, event string, groups ...[]Field) Test {
	return Test{Name: name, Generator: generator, Expect: []Expect{{Type: event, Fields: fields(groups...)}}}
}

// container finds the event of the child by its paths: an overlay does work of
// its own on the layers below, in the name of the same process, and that comes
// as events with paths of those layers.
func container(name, event string, paths ...Field) Test {
	t := one(name, files+"_container", event, leader(gen("child_pid")), paths)
	t.Overlayfs, t.Expect[0].Others = true, true
	return t
}

// Tests is the table of all tests of events, in the order they are reported.
func Tests() []Test {
	tests := []Test{
		{
			Name: "FeaturesCorrect",
			Init: fields([]Field{is("features.bpf_tramp", fact("bpf_tramp"))}, newer(is("features.ipv6", fact("ipv6")))),
		},
		{
			Name: "ForkExit", Generator: "fork_exit",
			Expect: []Expect{
				{Type: "PROCESS_FORK", Fields: fields(
					pids("parent_pids", ""),
					[]Field{
						is("child_pids.ppid", gen("tgid")),
						same("child_pids.tid", "child_pids.tgid"),
						not("child_pids.tgid", gen("tgid")),
						is("child_pids.sid", gen("sid")),
						is("child_pids.pgid", gen("pgid")),
					},
					caps(gen("cap_permitted"), gen("cap_effective")),
					namespaces("uts", "ipc", "mnt", "net", "cgroup", "time", "pid"))},
				{Type: "PROCESS_EXIT", Fields: []Field{
					id("pids.tgid", seen(0, "child_pids.tgid")),
					is("pids.tid", seen(0, "child_pids.tid")),
					is("pids.ppid", gen("tgid")),
					is("pids.sid", gen("sid")),
					is("pids.pgid", gen("pgid")),
					is("exit_code", 0),
				}},
			},
		},
		{
			Name: "ForkExec", Generator: "fork_exec",
			Expect: []Expect{
				{Type: "PROCESS_FORK", Fields: fields(
					pids("parent_pids", "parent_info"),
					[]Field{
						is("child_pids.tgid", gen("child_pid")),
						is("child_pids.tid", gen("child_pid")),
						is("child_pids.ppid", gen("parent_info.tgid")),
					},
					// Not what the generator printed: that it got no others
					// than it asked for must not hide.
					caps("4294967295", "4042322160"))},
				{Type: "PROCESS_EXEC", Fields: fields(
					[]Field{
						id("pids.tgid", gen("child_pid")),
						is("pids.tid", gen("child_pid")),
						is("pids.ppid", gen("parent_info.tgid")),
						is("pids.sid", gen("parent_info.sid")),
						is("pids.pgid", gen("parent_info.pgid")),
					},
					newer(printed("creds.", "ruid", "euid", "suid", "rgid", "egid", "sgid")...),
					caps(fact("all_caps"), fact("all_caps")),
					newer(printed("", "is_setuid", "is_setgid", "is_memfd")...),
					[]Field{
						{Path: "filename", Want: fact("do_nothing"), Older: "./do_nothing"},
						{Path: "argv.0", Want: "./do_nothing", OlderPath: "argv"},
					},
					newer(has("env", "TEST_ENV_KEY1=TEST_ENV_VAL1"), has("env", "TEST_ENV_KEY2=TEST_ENV_VAL2")),
					[]Field{is("cwd", fact("dir"))})},
			},
		},
		one("FileCreate", files, "FILE_CREATE",
			pids("pids", "pid_info"),
			[]Field{is("path", gen("filename_orig"))},
			file(100644, 0)),
		one("FileRename", files, "FILE_RENAME",
			pids("pids", "pid_info"),
			[]Field{is("old_path", gen("filename_orig")), is("new_path", gen("filename_new"))},
			file(100644, 0)),
		{
			Name: "FileModify", Generator: files, Ordered: true,
			Expect: []Expect{modify("PERMISSIONS", 0), modify("CONTENT", 4), modify("CONTENT", 14), modify("CONTENT", 0)},
		},
		one("FileDelete", files, "FILE_DELETE",
			pids("pids", "pid_info"),
			[]Field{is("path", gen("filename_new"))},
			file(100777, 0)),
		container("FileCreateContainer", "FILE_CREATE", id("path", gen("filename_orig"))),
		container("FileRenameContainer", "FILE_RENAME", id("old_path", gen("filename_orig")), id("new_path", gen("filename_new"))),
		container("FileDeleteContainer", "FILE_DELETE", id("path", gen("filename_new"))),
		one("Setuid", "setreuid", "PROCESS_SETUID", pids("pids", "pid_info"), printed("", "new_ruid", "new_euid")),
		one("Setgid", "setregid", "PROCESS_SETGID", pids("pids", "pid_info"), printed("", "new_rgid", "new_egid")),
		one("TtyWrite", "tty_write", "PROCESS_TTY_WRITE",
			leader(gen("pid")),
			[]Field{is("tty_out_truncated", 0), is("tty_out", "--- OK\n")},
			newer(
				// ttyS0, as the captured generator did not print it
				is("tty.major", gen("major").or(4)),
				is("tty.minor", gen("minor").or(64)),
				is("tty.winsize_rows", gen("rows").or(0)),
				is("tty.winsize_cols", gen("cols").or(0)),
			),
			[]Field{{Path: "tty_out_len", Want: len("--- OK\n"), Former: true}}),
	}
	for _, ip := range []struct {
		name, generator, family, address string
		v6                               bool
	}{
		{"Tcpv4", "tcpv4_connect", "AF_INET", "127.0.0.1", false},
		{"Tcpv6", "tcpv6_connect", "AF_INET6", "::1", true},
	} {
		client, server := gen("client_port"), gen("server_port")
		side := func(event string, from, to Ref) Expect {
			return conn(event, ip.generator, ip.family, ip.address, from, to)
		}
		clientClosed := side("NETWORK_CONNECTION_CLOSED", client, server)
		clientClosed.Newer, clientClosed.What = true, "the client's side"
		test := func(name string, sides ...Expect) Test {
			return Test{Name: ip.name + name, Generator: ip.generator, IPv6: ip.v6, Ordered: true, Expect: sides}
		}
		tests = append(tests,
			test("ConnectionAttempt", side("NETWORK_CONNECTION_ATTEMPTED", client, server)),
			test("ConnectionAccept", side("NETWORK_CONNECTION_ACCEPTED", server, client)),
			test("ConnectionClose", clientClosed, side("NETWORK_CONNECTION_CLOSED", server, client)))
	}
	return append(tests,
		one("Ptrace", "ptrace", "PROCESS_PTRACE", leader(gen("ptrace_pid")), printed("", "child_pid", "request")),
		one("Shmget", "shmget", "PROCESS_SHMGET", pids("pids", "pid_info"), printed("", "key", "size", "shmflg")),
		Test{
			Name: "MemfdCreate", Generator: "memfd_create_exec", Ordered: true,
			Expect: []Expect{
				{Type: "PROCESS_MEMFD_CREATE", Fields: fields(
					pids("pids", "pid_info"),
					[]Field{
						is("filename", gen("filename")),
						is("flags", gen("flags.value")),
						is("flag_cloexec", gen("flags.mfd_cloexec")),
						is("flag_allow_seal", gen("flags.mfd_allow_sealing")),
						is("flag_hugetlb", gen("flags.mfd_hugetlb")),
					},
					newer(is("flag_noexec_seal", gen("flags.mfd_noexec_seal")), is("flag_exec", gen("flags.mfd_exec"))))},
				// The generator itself was exec'd as well, by the same process.
				{Type: "PROCESS_EXEC", Others: true, Fields: fields(
					pids("pids", "pid_info"),
					[]Field{
						id("is_memfd", true),
						is("is_setuid", false),
						is("is_setgid", false),
						is("inode_nlink", 0),
					})},
			},
		})
}
