// SPDX-License-Identifier: GPL-2.0
/*
 * A shrinker whose two functions are Rust's: struct shrinker has no Rust binding.
 */
#include <linux/rust_iommu.h>
#include <linux/shrinker.h>
#include <linux/slab.h>

struct rust_shrinker {
	struct shrinker *shrinker;
	unsigned long (*count)(void *data);
	unsigned long (*scan)(void *data, unsigned long most);
	void *data;
};

static unsigned long count(struct shrinker *shrinker, struct shrink_control *sc)
{
	struct rust_shrinker *s = shrinker->private_data;

	return s->count(s->data) ?: SHRINK_EMPTY;
}

static unsigned long scan(struct shrinker *shrinker, struct shrink_control *sc)
{
	struct rust_shrinker *s = shrinker->private_data;

	return s->scan(s->data, sc->nr_to_scan) ?: SHRINK_STOP;
}

struct rust_shrinker *rust_helper_iommu_shrinker_new(const char *name,
						     unsigned long (*count_fn)(void *),
						     unsigned long (*scan_fn)(void *, unsigned long),
						     void *data)
{
	struct rust_shrinker *s = kzalloc_obj(*s, GFP_KERNEL);

	if (!s)
		return NULL;
	s->count = count_fn;
	s->scan = scan_fn;
	s->data = data;
	s->shrinker = shrinker_alloc(0, "%s", name);
	if (!s->shrinker) {
		kfree(s);
		return NULL;
	}
	s->shrinker->count_objects = count;
	s->shrinker->scan_objects = scan;
	s->shrinker->private_data = s;
	shrinker_register(s->shrinker);
	return s;
}

/* Returns the data. */
void *rust_helper_iommu_shrinker_free(struct rust_shrinker *s)
{
	void *data = s->data;

	shrinker_free(s->shrinker);
	kfree(s);
	return data;
}
