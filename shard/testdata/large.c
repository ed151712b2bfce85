// Says whether a file has a size and an end: PATH SIZE END.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
	char end[100] = "";
	FILE *f = fopen(argv[1], "r");
	long want = atol(argv[2]);
	size_t n = strlen(argv[3]);

	if (argc != 4 || !f || n >= sizeof end || fseek(f, 0, SEEK_END) || ftell(f) != want)
		return 1;
	if (fseek(f, want - (long)n, SEEK_SET) || fread(end, 1, n, f) != n || strcmp(end, argv[3]))
		return 2;
	return 0;
}
