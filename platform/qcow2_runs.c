/* The heap of what is to be read, by its place in the file. See qcow2.h. */
#include <stdlib.h>

#include "platform/qcow2.h"

static void sift_down(struct qcow2_run *items, size_t count, size_t at)
{
	struct qcow2_run moved = items[at];
	for (;;) {
		size_t child = 2 * at + 1;
		if (child >= count)
			break;
		if (child + 1 < count && items[child + 1].host < items[child].host)
			child++;
		if (items[child].host >= moved.host)
			break;
		items[at] = items[child];
		at = child;
	}
	items[at] = moved;
}

int qcow2_runs_push(struct qcow2_runs *runs, const struct qcow2_run *run, struct error *err)
{
	if (runs->count == QCOW2_RUNS_MOST)
		return error_set(err, ERROR_MEMORY, "more than %d pieces have to be remembered",
				 QCOW2_RUNS_MOST);
	if (runs->count == runs->capacity) {
		size_t capacity = runs->capacity ? 2 * runs->capacity : 256;
		if (capacity > QCOW2_RUNS_MOST)
			capacity = QCOW2_RUNS_MOST;
		struct qcow2_run *items = realloc(runs->items, capacity * sizeof(*items));
		if (!items)
			return error_set(err, ERROR_MEMORY, "no memory for the image's tables");
		runs->items = items;
		runs->capacity = capacity;
	}
	size_t at = runs->count++;
	while (at > 0 && runs->items[(at - 1) / 2].host > run->host) {
		runs->items[at] = runs->items[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	runs->items[at] = *run;
	return 0;
}

const struct qcow2_run *qcow2_runs_first(const struct qcow2_runs *runs)
{
	return runs->count ? &runs->items[0] : NULL;
}

void qcow2_runs_pop(struct qcow2_runs *runs)
{
	runs->items[0] = runs->items[--runs->count];
	if (runs->count > 1)
		sift_down(runs->items, runs->count, 0);
}

void qcow2_runs_sort(struct qcow2_runs *runs)
{
	size_t i = 1;
	while (i < runs->count && runs->items[i - 1].host <= runs->items[i].host)
		i++;
	if (i >= runs->count)
		return;
	/* Takes the lowest to the end, then the next …, and turns the whole round. */
	for (size_t left = runs->count; left > 1; left--) {
		struct qcow2_run lowest = runs->items[0];
		runs->items[0] = runs->items[left - 1];
		runs->items[left - 1] = lowest;
		sift_down(runs->items, left - 1, 0);
	}
	for (size_t low = 0, high = runs->count - 1; low < high; low++, high--) {
		struct qcow2_run swapped = runs->items[low];
		runs->items[low] = runs->items[high];
		runs->items[high] = swapped;
	}
}

void qcow2_runs_free(struct qcow2_runs *runs)
{
	free(runs->items);
	*runs = (struct qcow2_runs){.items = NULL};
}
