// SPDX-License-Identifier: GPL-2.0
/*
 * The module's own device, /sys/devices/faux/NAME, for what is no unit's alone. Its attributes go before
 * the module does: faux_device_destroy() waits for whoever is in one of them.
 */
#include <linux/device.h>
#include <linux/device/faux.h>
#include <linux/rust_iommu.h>
#include <linux/sysfs.h>

static ssize_t release_store(struct device *dev, struct device_attribute *attr, const char *buf,
			     size_t count)
{
	const struct rust_iommu_control_ops *ops = dev_get_drvdata(dev);
	int ret;

	if (!sysfs_streq(buf, "1"))
		return -EINVAL;
	/* The file is there a moment before the pointer. */
	ret = ops ? ops->release(ops->cookie) : -ENODEV;
	return ret ?: count;
}
static DEVICE_ATTR_WO(release);

static struct attribute *control_attrs[] = {
	&dev_attr_release.attr,
	NULL,
};
ATTRIBUTE_GROUPS(control);

/* Returns NULL if there is no memory, or the name is taken. @ops stays until the device is destroyed. */
struct faux_device *rust_iommu_control_new(const char *name, struct rust_iommu_control_ops *ops)
{
	struct faux_device *dev = faux_device_create_with_groups(name, NULL, NULL, control_groups);

	if (dev)
		faux_device_set_drvdata(dev, ops);
	return dev;
}
