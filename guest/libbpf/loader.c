// SPDX-License-Identifier: Apache-2.0
/*
 * Loads the programs of one BPF object with libbpf, on request.
 *
 * libbpf.c is included, not linked: its bpf_object_load_prog() is what
 * bpf_object__load() calls for every program, and called here for one, so that
 * an object is opened and prepared once and its programs are loaded one by one,
 * by the very code that an application would run.
 *
 * File descriptor 3 is a SOCK_SEQPACKET socket. A packet is a list of strings,
 * each with its NUL. A request is a command and its arguments; requests with
 * their replies are in the table at the end. The last packet of every reply is
 *
 *	end ERRNO ERROR NANOSECONDS BYTES PROGRAM MESSAGES
 *
 * where BYTES is the length of what lies in the memory file at descriptor 4, the
 * verifier's log. A packet carries one file descriptor at most.
 */
#include "libbpf.c"

#include <sys/socket.h>
#include <time.h>

enum {
	SOCKET = 3,
	MEMORY = 4,
	MAX_REQUEST = 128 << 10,
	MAX_REPLY = 64 << 10,
	MAX_MESSAGES = 32 << 10,
	MAX_ARGS = 4,
	MAX_LINKS = 1024,
	MAX_MEMORY = 256 << 20,
};

struct request {
	int argc;
	char **argv;
};

/* What libbpf said since the request began. */
static char messages[MAX_MESSAGES];
static size_t messages_len;

static int collect(enum libbpf_print_level level, const char *format, va_list args)
{
	size_t room = sizeof(messages) - messages_len;
	int n;

	if (level == LIBBPF_DEBUG)
		return 0;
	n = vsnprintf(messages + messages_len, room, format, args);
	if (n > 0)
		messages_len += min((size_t)n, room - 1);
	return 0;
}

static char reply[MAX_REPLY];
static size_t reply_len;

static int add(const char *s)
{
	size_t n = strlen(s) + 1;

	if (n > sizeof(reply) - reply_len)
		return -E2BIG;
	memcpy(reply + reply_len, s, n);
	reply_len += n;
	return 0;
}

static int add_number(unsigned long long n)
{
	char s[24];

	snprintf(s, sizeof(s), "%llu", n);
	return add(s);
}

/* send_reply sends what was added, and fd unless it is negative. */
static void send_reply(int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = {};
	struct iovec iov = { reply, reply_len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;

	if (fd >= 0) {
		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	if (sendmsg(SOCKET, &msg, MSG_NOSIGNAL) < 0)
		_exit(1);
	reply_len = 0;
}

/* What the last packet of a reply says. */
static struct {
	__u64 ns;
	size_t bytes;
	const char *program;
} outcome;

static void send_end(int err)
{
	char text[256] = "";

	if (err > 0)
		err = -EPROTO;
	if (err)
		libbpf_strerror(err, text, sizeof(text));
	messages[messages_len] = 0;
	reply_len = 0;
	add("end");
	add_number(-err);
	add(text);
	add_number(outcome.ns);
	add_number(outcome.bytes);
	/* A name too long to be told has been refused by open. */
	add(outcome.program ?: "");
	add(messages);
	send_reply(-1);
}

static bool number(const char *s, unsigned long long max, unsigned long long *n)
{
	char *end;

	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	*n = strtoull(s, &end, 10);
	return !errno && !*end && *n <= max;
}

/* The memory file, as large as the last request wanted it. */
static char *memory;
static size_t memory_size;

static int need_memory(size_t size)
{
	if (memory)
		munmap(memory, memory_size);
	memory = NULL;
	if (size > MAX_MEMORY)
		return -E2BIG;
	/* Through nothing, so that the pages of the last log are freed. */
	if (ftruncate(MEMORY, 0) || ftruncate(MEMORY, size))
		return -errno;
	memory_size = max(size, (size_t)1);
	memory = mmap(NULL, memory_size, PROT_READ | PROT_WRITE, MAP_SHARED, MEMORY, 0);
	if (memory == MAP_FAILED) {
		memory = NULL;
		return -errno;
	}
	return 0;
}

static char *path, *btf_path;
static struct bpf_object *shared; /* of all programs, unless it cannot be prepared */
static int prepared; /* shared: 1, or the error */
static char *why; /* what libbpf said about the error */
static bool whole; /* shared is loaded whole */
static bool hopeless; /* none of the object's programs can be loaded */
static struct bpf_object *bare; /* of no program, where shared is of no use */
static struct bpf_object **own; /* of one program each, likewise */
static struct request *settings;
static int settings_count;
static struct bpf_link *links[MAX_LINKS];

static int set_map(struct bpf_object *obj, struct bpf_map *map, const char *what, const char *value)
{
	struct bpf_map *like, *inner;
	unsigned long long n;

	if (!strcmp(what, "pin"))
		return bpf_map__set_pin_path(map, value);
	if (!strcmp(what, "inner")) {
		like = bpf_object__find_map_by_name(obj, value);
		if (!like || like == map || !bpf_map_type__is_map_in_map(map->def.type) ||
		    bpf_map_type__is_map_in_map(like->def.type))
			return -EINVAL;
		inner = calloc(1, sizeof(*inner));
		if (!inner)
			return -ENOMEM;
		inner->obj = obj;
		inner->fd = create_placeholder_fd();
		inner->sec_idx = like->sec_idx;
		inner->name = strdup(like->name);
		inner->def = like->def;
		inner->map_extra = like->map_extra;
		inner->btf_key_type_id = like->btf_key_type_id;
		inner->btf_value_type_id = like->btf_value_type_id;
		inner->inner_map_fd = -1;
		if (map->inner_map) {
			bpf_map__destroy(map->inner_map);
			free(map->inner_map);
		}
		map->inner_map = inner;
		return inner->fd < 0 ? inner->fd : inner->name ? 0 : -ENOMEM;
	}
	if (!number(value, UINT_MAX, &n))
		return -EINVAL;
	if (!strcmp(what, "type"))
		return bpf_map__set_type(map, n);
	if (!strcmp(what, "max_entries"))
		return bpf_map__set_max_entries(map, n);
	if (!strcmp(what, "key_size"))
		return bpf_map__set_key_size(map, n);
	if (!strcmp(what, "value_size"))
		return bpf_map__set_value_size(map, n);
	if (!strcmp(what, "flags"))
		return bpf_map__set_map_flags(map, n);
	return -EPROTO;
}

/* set_bytes writes bytes, given as hexadecimal digits, into a map's first value. */
static int set_bytes(struct bpf_map *map, const char *offset, const char *hex)
{
	unsigned long long off;
	size_t size, i, n = strlen(hex) / 2;
	char *value = bpf_map__initial_value(map, &size);
	unsigned int byte;

	if (!value || !number(offset, size, &off) || n > size - off)
		return -EINVAL;
	for (i = 0; i < n; i++) {
		if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
			return -EINVAL;
		value[off + i] = byte;
	}
	return 0;
}

/* set_section makes prog what it would be in another section. */
static int set_section(struct bpf_program *prog, const char *section)
{
	const struct bpf_sec_def *def = find_sec_def(section);
	char *name = strdup(section);

	if (!name)
		return -ENOMEM;
	if (!def) {
		pr_warn("prog '%s': unrecognized section name '%s'\n", prog->name, section);
		free(name);
		return -EINVAL;
	}
	free(prog->sec_name);
	prog->sec_name = name;
	prog->sec_def = def;
	prog->type = def->prog_type;
	prog->expected_attach_type = def->expected_attach_type;
	return def->prog_setup_fn ? def->prog_setup_fn(prog, def->cookie) : 0;
}

static int apply(struct bpf_object *obj, const struct request *r)
{
	struct bpf_program *prog;
	struct bpf_map *map;

	if (!strcmp(r->argv[0], "section")) {
		prog = bpf_object__find_program_by_name(obj, r->argv[1]);
		return prog ? set_section(prog, r->argv[2]) : -ENOENT;
	}
	map = bpf_object__find_map_by_name(obj, r->argv[1]);
	if (!map)
		return -ENOENT;
	if (!strcmp(r->argv[0], "map"))
		return set_map(obj, map, r->argv[2], r->argv[3]);
	return set_bytes(map, r->argv[2], r->argv[3]);
}

/* open_object opens the object with its settings. */
static int open_object(struct bpf_object **obj)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts);
	struct bpf_map *map;
	int i, err;

	opts.btf_custom_path = *btf_path ? btf_path : NULL;
	*obj = bpf_object__open_file(path, &opts);
	if (!*obj)
		return -errno;
	/* Objects share no map unless they are told to. */
	bpf_object__for_each_map(map, *obj)
		bpf_map__set_pin_path(map, NULL);
	for (i = 0; i < settings_count; i++) {
		err = apply(*obj, &settings[i]);
		if (err)
			return err;
	}
	return 0;
}

static int send_program(const struct bpf_program *prog)
{
	int err = add("program") ?: add(prog->name) ?: add(prog->sec_name);

	if (err)
		return err;
	add_number(prog->type);
	add_number(prog->expected_attach_type);
	add_number(prog->autoload);
	send_reply(-1);
	return 0;
}

static int do_open(const struct request *r)
{
	struct bpf_program *prog;
	struct bpf_map *map;
	int err;

	if (path)
		return -EALREADY;
	path = strdup(r->argv[1]);
	btf_path = strdup(r->argv[2]);
	if (!path || !btf_path)
		return -ENOMEM;
	err = open_object(&shared);
	if (err)
		return err;
	own = calloc(shared->nr_programs + 1, sizeof(*own));
	if (!own)
		return -ENOMEM;
	bpf_object__for_each_program(prog, shared) {
		err = send_program(prog);
		if (err)
			return err;
	}
	bpf_object__for_each_map(map, shared) {
		err = add("map") ?: add(map->real_name ?: map->name);
		if (err)
			return err;
		add_number(map->def.type);
		add_number(map->def.value_size);
		add_number(map->def.max_entries);
		add_number(map->def.map_flags);
		add_number(bpf_map__is_internal(map));
		send_reply(-1);
	}
	return 0;
}

static int do_btf(const struct request *r)
{
	const void *data;
	__u32 size;
	int err;

	if (!shared || !shared->btf)
		return -ENOENT;
	data = btf__raw_data(shared->btf, &size);
	if (!data)
		return -ENOMEM;
	err = need_memory(size);
	if (err)
		return err;
	memcpy(memory, data, size);
	outcome.bytes = size;
	return 0;
}

static int do_set(const struct request *r)
{
	struct request *s;
	int i, err;

	if (!shared || prepared)
		return -EBUSY;
	err = apply(shared, r);
	if (err)
		return err;
	s = realloc(settings, (settings_count + 1) * sizeof(*settings));
	if (!s)
		return -ENOMEM;
	settings = s;
	s += settings_count;
	s->argc = r->argc;
	s->argv = calloc(r->argc, sizeof(char *));
	if (!s->argv)
		return -ENOMEM;
	for (i = 0; i < r->argc; i++) {
		s->argv[i] = strdup(r->argv[i]);
		if (!s->argv[i])
			return -ENOMEM;
	}
	settings_count++;
	return strcmp(r->argv[0], "section") ? 0 :
	       send_program(bpf_object__find_program_by_name(shared, r->argv[1]));
}

/* prepare_shared prepares the object, of all programs unless it is loaded whole. */
static int prepare_shared(void)
{
	struct bpf_program *prog;

	if (!shared)
		return -EBADF;
	if (!prepared) {
		bpf_object__for_each_program(prog, shared)
			if (!whole)
				bpf_program__set_autoload(prog, true);
		prepared = bpf_object__prepare(shared) ?: 1;
		messages[messages_len] = 0;
		if (prepared < 0)
			why = strdup(messages);
	} else if (why) {
		messages_len = strlen(strcpy(messages, why));
	}
	return prepared > 0 ? 0 : prepared;
}

static void drop(int i)
{
	own[i]->btf_vmlinux = NULL; /* is shared's */
	bpf_object__close(own[i]);
	own[i] = NULL;
}

/* prepare_only prepares an object of which only the named program is loaded, or none. */
static int prepare_only(const char *name, struct bpf_object **obj)
{
	struct bpf_program *prog;
	int err;

	messages_len = 0;
	err = open_object(obj);
	if (!err) {
		bpf_object__for_each_program(prog, *obj)
			bpf_program__set_autoload(prog, name && !strcmp(prog->name, name));
		/* The kernel's types take most of the time, and do not change. */
		(*obj)->btf_vmlinux = shared->btf_vmlinux;
		err = bpf_object__prepare(*obj);
		shared->btf_vmlinux = (*obj)->btf_vmlinux;
	}
	if (err && *obj) {
		(*obj)->btf_vmlinux = NULL;
		bpf_object__close(*obj);
	}
	return err;
}

/*
 * prepare gives the prepared object of all programs or, where one of them stands in
 * the way of the others, of none.
 */
static int prepare(struct bpf_object **obj)
{
	int err = prepare_shared();

	*obj = shared;
	if (!err || whole || hopeless)
		return err;
	if (!bare) {
		err = prepare_only(NULL, &bare);
		if (err) {
			/* It is the maps or what is external: the same for all. */
			hopeless = true;
			bare = NULL;
			prepared = err;
			free(why);
			messages[messages_len] = 0;
			why = strdup(messages);
			return err;
		}
	}
	messages_len = 0;
	*obj = bare;
	return 0;
}

/* find gives the program, in an object that is prepared for it. */
static int find(const char *name, struct bpf_program **prog)
{
	struct bpf_object *obj;
	int i, j, err;

	err = prepare(&obj);
	if (err)
		return err;
	*prog = bpf_object__find_program_by_name(shared, name);
	if (!*prog)
		return -ENOENT;
	if (obj == shared)
		return 0;
	i = *prog - shared->programs;
	if (!own[i]) {
		for (j = 0; j < shared->nr_programs; j++) {
			if (own[j] && own[j]->programs[j].fd < 0)
				drop(j); /* has been refused */
		}
		err = prepare_only(name, &own[i]);
		if (err) {
			own[i] = NULL;
			return err;
		}
	}
	*prog = bpf_object__find_program_by_name(own[i], name);
	return *prog ? 0 : -ENOENT;
}

static int do_prepare(const struct request *r)
{
	struct bpf_program *prog;
	struct bpf_object *obj;

	return *r->argv[1] ? find(r->argv[1], &prog) : prepare(&obj);
}

static __u64 now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* load loads prog with its log at an offset in the memory. */
static int load(struct bpf_program *prog, __u32 level, size_t off, size_t size)
{
	struct bpf_object *obj = prog->obj;
	__u64 start;
	int err;

	zclose(prog->fd);
	prog->log_level = level;
	prog->log_buf = size ? memory + off : NULL;
	prog->log_size = size;
	outcome.program = prog->name;
	start = now();
	err = bpf_object_load_prog(obj, prog, prog->insns, prog->insns_cnt, obj->license,
				   obj->kern_version, &prog->fd);
	outcome.ns = now() - start;
	outcome.bytes = size ? strnlen(memory + off, size) : 0;
	return err;
}

static int log_options(const struct request *r, int i, __u32 *level, size_t *size)
{
	unsigned long long l, s;

	if (!number(r->argv[i], 7, &l) || !number(r->argv[i + 1], MAX_MEMORY, &s))
		return -EPROTO;
	*level = l;
	*size = s;
	return 0;
}

static int do_load(const struct request *r)
{
	struct bpf_program *prog;
	__u32 level;
	size_t size;
	int err;

	err = log_options(r, 2, &level, &size);
	err = err ?: find(r->argv[1], &prog);
	err = err ?: need_memory(size);
	err = err ?: load(prog, level, 0, size);
	if (err)
		return err;
	add("loaded");
	add(prog->name);
	add_number(outcome.ns);
	add_number(0);
	add_number(outcome.bytes);
	send_reply(prog->fd);
	return 0;
}

/* do_together has nothing but the programs that it names after this loaded. */
static int do_together(const struct request *r)
{
	struct bpf_program *prog;

	if (!shared || prepared)
		return -EBUSY;
	if (!whole)
		bpf_object__for_each_program(prog, shared)
			bpf_program__set_autoload(prog, false);
	whole = true;
	if (!*r->argv[1])
		return 0;
	prog = bpf_object__find_program_by_name(shared, r->argv[1]);
	return prog ? bpf_program__set_autoload(prog, true) : -ENOENT;
}

static int do_whole(const struct request *r)
{
	struct bpf_program *prog;
	size_t size, n = 0;
	__u32 level;
	int err;

	if (!whole)
		return -EBUSY;
	err = log_options(r, 1, &level, &size);
	err = err ?: prepare_shared();
	if (err)
		return err;
	bpf_object__for_each_program(prog, shared)
		n += prog->autoload;
	if (size && n > MAX_MEMORY / size)
		return -E2BIG;
	err = need_memory(n * size);
	if (err)
		return err;
	/* As bpf_object__load() goes on from here, with a look at each program. */
	n = 0;
	bpf_object__for_each_program(prog, shared) {
		if (!prog->autoload)
			continue;
		err = load(prog, level, n * size, size);
		if (err) {
			memmove(memory, memory + n * size, outcome.bytes);
			return err;
		}
		add("loaded");
		add(prog->name);
		add_number(outcome.ns);
		add_number(n * size);
		add_number(outcome.bytes);
		send_reply(prog->fd);
		n++;
	}
	outcome.program = NULL;
	outcome.bytes = 0;
	return bpf_object_init_prog_arrays(shared) ?: bpf_object_prepare_struct_ops(shared);
}

static int do_release(const struct request *r)
{
	struct bpf_program *prog = shared ? bpf_object__find_program_by_name(shared, r->argv[1]) : NULL;
	int i;

	if (!prog)
		return -ENOENT;
	zclose(prog->fd);
	i = prog - shared->programs;
	if (own[i])
		drop(i);
	return 0;
}

static int keep_link(struct bpf_link *link)
{
	int i;

	if (!link)
		return -errno;
	for (i = 0; i < MAX_LINKS; i++) {
		if (links[i])
			continue;
		links[i] = link;
		add("link");
		add_number(i);
		send_reply(-1);
		return 0;
	}
	bpf_link__destroy(link);
	return -EMFILE;
}

static int do_attach(const struct request *r)
{
	struct bpf_program *prog;
	int err = find(r->argv[1], &prog);

	return err ?: keep_link(bpf_program__attach(prog));
}

static int do_attach_map(const struct request *r)
{
	struct bpf_object *obj;
	struct bpf_map *map;
	int i, err;

	err = prepare(&obj);
	if (err)
		return err;
	map = bpf_object__find_map_by_name(obj, r->argv[1]);
	if (!map)
		return -ENOENT;
	if (!bpf_map__is_struct_ops(map))
		return -EINVAL;
	err = need_memory(BPF_LOG_BUF_SIZE);
	for (i = 0; !err && i < btf_vlen(btf__type_by_id(obj->btf, map->st_ops->type_id)); i++) {
		struct bpf_program *prog = map->st_ops->progs[i];

		if (prog && prog->fd < 0)
			err = load(prog, 1, 0, BPF_LOG_BUF_SIZE);
	}
	if (err)
		return err;
	outcome.program = NULL;
	outcome.bytes = 0;
	bpf_map_prepare_vdata(map);
	return keep_link(bpf_map__attach_struct_ops(map));
}

static int do_detach(const struct request *r)
{
	unsigned long long i;
	struct bpf_link *link;

	if (!number(r->argv[1], MAX_LINKS - 1, &i) || !links[i])
		return -EPROTO;
	link = links[i];
	links[i] = NULL;
	return bpf_link__destroy(link);
}

static int do_map_fd(const struct request *r)
{
	struct bpf_object *obj;
	struct bpf_map *map;
	int err;

	err = prepare(&obj);
	if (err)
		return err;
	map = bpf_object__find_map_by_name(obj, r->argv[1]);
	if (!map)
		return -ENOENT;
	if (map->fd < 0)
		return -EBADF;
	add("map_fd");
	send_reply(map->fd);
	return 0;
}

static int do_version(const struct request *r)
{
	add("version");
	add(libbpf_version_string());
	send_reply(-1);
	return 0;
}

static const struct command {
	const char *name;
	int args;
	int (*run)(const struct request *r);
} commands[] = {
	{ "version", 1, do_version }, /* version VERSION */
	{ "open", 3, do_open }, /* PATH BTF: program NAME SECTION TYPE ATTACH_TYPE AUTOLOAD,
				 * map NAME TYPE VALUE_SIZE MAX_ENTRIES FLAGS INTERNAL */
	{ "btf", 1, do_btf }, /* the object's types, in the memory */
	{ "map", 4, do_set }, /* NAME type|max_entries|key_size|value_size|flags|inner|pin VALUE */
	{ "bytes", 4, do_set }, /* MAP OFFSET HEXADECIMAL */
	{ "section", 3, do_set }, /* PROGRAM SECTION: program, as by open */
	{ "together", 2, do_together }, /* PROGRAM, or nothing: one of those that whole loads */
	{ "prepare", 2, do_prepare }, /* PROGRAM, or nothing: all that comes before the verifier */
	{ "load", 4, do_load }, /* PROGRAM LEVEL SIZE: loaded PROGRAM NANOSECONDS OFFSET BYTES and its descriptor */
	{ "whole", 3, do_whole }, /* LEVEL SIZE: as load, for each */
	{ "release", 2, do_release }, /* PROGRAM */
	{ "attach", 2, do_attach }, /* PROGRAM: link NUMBER */
	{ "attach_map", 2, do_attach_map }, /* MAP: link NUMBER */
	{ "detach", 2, do_detach }, /* NUMBER */
	{ "map_fd", 2, do_map_fd }, /* MAP: map_fd and its descriptor */
};

static int answer(const struct request *r)
{
	const struct command *c;

	for (c = commands; c < commands + ARRAY_SIZE(commands); c++) {
		if (strcmp(r->argv[0], c->name))
			continue;
		return r->argc == c->args ? c->run(r) : -EPROTO;
	}
	return -EPROTO;
}

int main(void)
{
	static char packet[MAX_REQUEST];
	static char *argv[MAX_ARGS];
	struct request r = { .argv = argv };
	ssize_t n;
	char *s;

	libbpf_set_print(collect);
	while ((n = recv(SOCKET, packet, sizeof(packet), 0)) > 0) {
		messages_len = reply_len = 0;
		memset(&outcome, 0, sizeof(outcome));
		r.argc = 0;
		if (n == sizeof(packet) || packet[n - 1])
			return 2;
		for (s = packet; s < packet + n && r.argc < MAX_ARGS; s += strlen(s) + 1)
			argv[r.argc++] = s;
		if (s < packet + n)
			return 2;
		send_end(answer(&r));
	}
	return n < 0;
}
