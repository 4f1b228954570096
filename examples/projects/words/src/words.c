/* Counts words: runs of characters that are no white space. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "version.h"

int main(int count, char **arguments)
{
	long words = 0;
	int inside = 0, c;

	if (count > 1 && strcmp(arguments[1], "--version") == 0) {
		puts("words " VERSION);
		return 0;
	}
	while ((c = getchar()) != EOF) {
		if (isspace(c)) {
			inside = 0;
		} else if (!inside) {
			inside = 1;
			words++;
		}
	}
	printf("%ld\n", words);
	return 0;
}
