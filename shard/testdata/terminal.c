// terminal is the payload of TestTerminal: it uses its output as C programs do.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "";

	if (!strcmp(how, "look")) {
		struct winsize w = {0};
		char name[64] = "none";

		ioctl(1, TIOCGWINSZ, &w);
		ttyname_r(1, name, sizeof(name));
		printf("terminal: %d%d%d %dx%d %s %s %s\n", isatty(0), isatty(1), isatty(2), w.ws_row, w.ws_col, getenv("TERM"), getenv("NO_COLOR"), name);
		struct stat file = {0}, dir = {0};

		stat("/data/suid", &file);
		stat("/data/empty", &dir);
		printf("modes: %o %o\n", file.st_mode, dir.st_mode);
		return 0;
	}
	if (!strcmp(how, "lines")) { // many of them
		for (int i = 0; i < atoi(argv[2]); i++)
			printf("line %8d of a test that has something to say about itself\n", i);
		return 0;
	}
	printf("TAP version 13\n1..%d\nok 1 - first\n", strcmp(how, "daemon") ? 2 : 1);
	if (!strcmp(how, "crash"))
		abort();
	if (!strcmp(how, "daemon")) {
		if (fork() == 0)
			for (;;)
				pause();
		return 0;
	}
	if (fork() == 0)
		exit(0);
	wait(NULL);
	printf("ok 2 - second\n");
	return 0;
}
