// SPDX-License-Identifier: GPL-2.0
/*
 * The documented attributes of units in /sys/class/iommu, as the C drivers have them.
 *
 * Source: Documentation/ABI/testing/sysfs-class-iommu-{amd,intel}-iommu
 */
#include <linux/device.h>
#include <linux/iommu.h>
#include <linux/rust_iommu.h>
#include <linux/sysfs.h>

/* What the class keeps as a device's data, iommu_device_sysfs_add() has it. */
static_assert(offsetof(struct rust_iommu_unit, core) == 0);

/* Those of rust/kernel/iommu/unit_sysfs.rs. */
static_assert(offsetof(struct rust_iommu_unit, facts) == sizeof(struct iommu_device));
static_assert(offsetof(struct rust_iommu_facts, features) == 24);
static_assert(offsetof(struct rust_iommu_facts, version) == 40);
static_assert(offsetof(struct rust_iommu_facts, domains_used) == 48);

/* The files are there a moment before the data. */
#define UNIT_ATTR(_name, _format, ...)							\
static ssize_t _name##_show(struct device *dev, struct device_attribute *attr, char *buf)	\
{											\
	struct rust_iommu_unit *unit = dev_get_drvdata(dev);				\
											\
	return unit ? sysfs_emit(buf, _format "\n", __VA_ARGS__) : -ENODEV;		\
}											\
static DEVICE_ATTR_RO(_name)

UNIT_ATTR(cap, "%llx", unit->facts.cap);
UNIT_ATTR(ecap, "%llx", unit->facts.ecap);
UNIT_ATTR(address, "%llx", unit->facts.address);
UNIT_ATTR(version, "%d:%d", unit->facts.version >> 4 & 0xf, unit->facts.version & 0xf);
UNIT_ATTR(domains_supported, "%u", unit->facts.domains);
UNIT_ATTR(domains_used, "%u", unit->facts.domains_used(unit));
UNIT_ATTR(features, "%llx:%llx", unit->facts.features[0], unit->facts.features[1]);

static struct attribute *intel_iommu_attrs[] = {
	&dev_attr_version.attr,
	&dev_attr_address.attr,
	&dev_attr_cap.attr,
	&dev_attr_ecap.attr,
	&dev_attr_domains_supported.attr,
	&dev_attr_domains_used.attr,
	NULL,
};

static const struct attribute_group intel_iommu_group = {
	.name = "intel-iommu",
	.attrs = intel_iommu_attrs,
};

const struct attribute_group *rust_iommu_intel_groups[] = {
	&intel_iommu_group,
	NULL,
};

static struct attribute *amd_iommu_attrs[] = {
	&dev_attr_cap.attr,
	&dev_attr_features.attr,
	NULL,
};

static const struct attribute_group amd_iommu_group = {
	.name = "amd-iommu",
	.attrs = amd_iommu_attrs,
};

const struct attribute_group *rust_iommu_amd_groups[] = {
	&amd_iommu_group,
	NULL,
};
