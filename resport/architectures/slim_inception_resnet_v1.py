"""facenet's Inception-ResNet v1 as a TF1 graph, with the variable names that facenet's checkpoints have.

Three residual stages with reductions between them, then a bottleneck: the embedding. Two things are easy to get wrong
and decide the numbers. The residuals are scaled by 0.17, 0.10 and 0.20 in the repeated blocks, but by 1.0 in the single
``Block8`` at the end, which has no activation either. And the embedding has a batch norm and no bias; the l2 norm comes
behind it. Batch norm has no gamma anywhere. facenet puts the moving statistics among the trainable variables, so that
its Saver keeps them; the classifier of a training graph, ``Logits``, stands outside of the network's scope.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resport.architectures.frameworks import quiet_import_module
from resport.architectures.slim_compat import import_slim
from resport.architectures.slim_network import SlimNetwork
from resport.errors import OptionError

if TYPE_CHECKING:
    import tensorflow as tf

SCOPE = "InceptionResnetV1"

BLOCK35_SCALE = 0.17
BLOCK17_SCALE = 0.10
BLOCK8_SCALE = 0.20
LAST_SCALE = 1.0

BATCH_NORM_DECAY = 0.995
BATCH_NORM_EPSILON = 0.001
L2_EPSILON = 1e-10

EndPoints = dict[str, "tf.Tensor"]


def block35(net: tf.Tensor, scope: str) -> tf.Tensor:
    """A residual block of three branches on the largest map."""
    slim, tf1 = import_slim(), quiet_import_module("tensorflow").compat.v1
    with tf1.variable_scope(scope):
        with tf1.variable_scope("Branch_0"):
            branch_0 = slim.conv2d(net, 32, 1, scope="Conv2d_1x1")
        with tf1.variable_scope("Branch_1"):
            branch_1 = slim.conv2d(net, 32, 1, scope="Conv2d_0a_1x1")
            branch_1 = slim.conv2d(branch_1, 32, 3, scope="Conv2d_0b_3x3")
        with tf1.variable_scope("Branch_2"):
            branch_2 = slim.conv2d(net, 32, 1, scope="Conv2d_0a_1x1")
            branch_2 = slim.conv2d(branch_2, 32, 3, scope="Conv2d_0b_3x3")
            branch_2 = slim.conv2d(branch_2, 32, 3, scope="Conv2d_0c_3x3")
        return _residual(net, [branch_0, branch_1, branch_2], BLOCK35_SCALE)


def block17(net: tf.Tensor, scope: str) -> tf.Tensor:
    """A residual block of two branches, one of which looks along rows and then along columns."""
    return _two_branches(net, scope, 128, 7, BLOCK17_SCALE)


def block8(net: tf.Tensor, scope: str, scale: float = BLOCK8_SCALE, is_activated: bool = True) -> tf.Tensor:
    """As ``block17``, on the smallest map; the network's last block is not activated."""
    return _two_branches(net, scope, 192, 3, scale, is_activated)


def _two_branches(
    net: tf.Tensor, scope: str, depth: int, length: int, scale: float, is_activated: bool = True
) -> tf.Tensor:
    slim, tf1 = import_slim(), quiet_import_module("tensorflow").compat.v1
    with tf1.variable_scope(scope):
        with tf1.variable_scope("Branch_0"):
            branch_0 = slim.conv2d(net, depth, 1, scope="Conv2d_1x1")
        with tf1.variable_scope("Branch_1"):
            branch_1 = slim.conv2d(net, depth, 1, scope="Conv2d_0a_1x1")
            branch_1 = slim.conv2d(branch_1, depth, [1, length], scope=f"Conv2d_0b_1x{length}")
            branch_1 = slim.conv2d(branch_1, depth, [length, 1], scope=f"Conv2d_0c_{length}x1")
        return _residual(net, [branch_0, branch_1], scale, is_activated)


def _residual(net: tf.Tensor, branches: list[tf.Tensor], scale: float, is_activated: bool = True) -> tf.Tensor:
    slim, tf = import_slim(), quiet_import_module("tensorflow")
    mixed = tf.concat(branches, 3)
    up = slim.conv2d(mixed, net.shape[3], 1, normalizer_fn=None, activation_fn=None, scope="Conv2d_1x1")
    net += scale * up
    return tf.nn.relu(net) if is_activated else net


def reduction_a(net: tf.Tensor) -> tf.Tensor:
    """From the largest map to the middle one."""
    slim, tf = import_slim(), quiet_import_module("tensorflow")
    with tf.compat.v1.variable_scope("Mixed_6a"):
        with tf.compat.v1.variable_scope("Branch_0"):
            branch_0 = slim.conv2d(net, 384, 3, stride=2, padding="VALID", scope="Conv2d_1a_3x3")
        with tf.compat.v1.variable_scope("Branch_1"):
            branch_1 = slim.conv2d(net, 192, 1, scope="Conv2d_0a_1x1")
            branch_1 = slim.conv2d(branch_1, 192, 3, scope="Conv2d_0b_3x3")
            branch_1 = slim.conv2d(branch_1, 256, 3, stride=2, padding="VALID", scope="Conv2d_1a_3x3")
        with tf.compat.v1.variable_scope("Branch_2"):
            branch_2 = slim.max_pool2d(net, 3, stride=2, padding="VALID", scope="MaxPool_1a_3x3")
        return tf.concat([branch_0, branch_1, branch_2], 3)


def reduction_b(net: tf.Tensor) -> tf.Tensor:
    """From the middle map to the smallest."""
    slim, tf = import_slim(), quiet_import_module("tensorflow")
    with tf.compat.v1.variable_scope("Mixed_7a"):
        with tf.compat.v1.variable_scope("Branch_0"):
            branch_0 = slim.conv2d(net, 256, 1, scope="Conv2d_0a_1x1")
            branch_0 = slim.conv2d(branch_0, 384, 3, stride=2, padding="VALID", scope="Conv2d_1a_3x3")
        with tf.compat.v1.variable_scope("Branch_1"):
            branch_1 = slim.conv2d(net, 256, 1, scope="Conv2d_0a_1x1")
            branch_1 = slim.conv2d(branch_1, 256, 3, stride=2, padding="VALID", scope="Conv2d_1a_3x3")
        with tf.compat.v1.variable_scope("Branch_2"):
            branch_2 = slim.conv2d(net, 256, 1, scope="Conv2d_0a_1x1")
            branch_2 = slim.conv2d(branch_2, 256, 3, scope="Conv2d_0b_3x3")
            branch_2 = slim.conv2d(branch_2, 256, 3, stride=2, padding="VALID", scope="Conv2d_1a_3x3")
        with tf.compat.v1.variable_scope("Branch_3"):
            branch_3 = slim.max_pool2d(net, 3, stride=2, padding="VALID", scope="MaxPool_1a_3x3")
        return tf.concat([branch_0, branch_1, branch_2, branch_3], 3)


def _stem(net: tf.Tensor, end_points: EndPoints) -> tf.Tensor:
    slim = import_slim()
    for scope, depth, size, options in (
        ("Conv2d_1a_3x3", 32, 3, {"stride": 2, "padding": "VALID"}),
        ("Conv2d_2a_3x3", 32, 3, {"padding": "VALID"}),
        ("Conv2d_2b_3x3", 64, 3, {}),
        ("MaxPool_3a_3x3", None, 3, {"stride": 2, "padding": "VALID"}),
        ("Conv2d_3b_1x1", 80, 1, {"padding": "VALID"}),
        ("Conv2d_4a_3x3", 192, 3, {"padding": "VALID"}),
        ("Conv2d_4b_3x3", 256, 3, {"stride": 2, "padding": "VALID"}),
    ):
        if depth is None:
            net = slim.max_pool2d(net, size, scope=scope, **options)
        else:
            net = slim.conv2d(net, depth, size, scope=scope, **options)
        end_points[scope] = net
    return net


def inception_resnet_v1(
    inputs: tf.Tensor,
    embedding_size: int = 128,
    is_training: bool = True,
    dropout_keep_prob: float = 0.8,
    reuse: bool | None = None,
    scope: str = SCOPE,
) -> tuple[tf.Tensor, EndPoints]:
    """The network up to its embedding. Call it inside ``facenet_arg_scope``.

    Args:
        inputs: (batch, height, width, 3).
        embedding_size: number of values of the embedding.
        is_training: whether batch norm uses the batch's own statistics, and dropout drops.
        dropout_keep_prob: share of the pooled values that dropout keeps.
        reuse: take variables that are there already.
        scope: variable scope.

    Returns:
        The embedding (batch, embedding_size) before its l2 norm, and the end points by facenet's keys.
    """
    slim, tf = import_slim(), quiet_import_module("tensorflow")
    end_points: EndPoints = {}
    with (
        tf.compat.v1.variable_scope(scope, "InceptionResnetV1", [inputs], reuse=reuse),
        slim.arg_scope([slim.batch_norm, slim.dropout], is_training=is_training),
    ):
        net = _stem(inputs, end_points)
        net = end_points["Mixed_5a"] = _repeat(net, 5, block35, "Repeat", "block35")
        net = end_points["Mixed_6a"] = reduction_a(net)
        net = end_points["Mixed_6b"] = _repeat(net, 10, block17, "Repeat_1", "block17")
        net = end_points["Mixed_7a"] = reduction_b(net)
        net = end_points["Mixed_8a"] = _repeat(net, 5, block8, "Repeat_2", "block8")
        net = end_points["Mixed_8b"] = block8(net, "Block8", LAST_SCALE, is_activated=False)
        end_points["PrePool"] = net
        with tf.compat.v1.variable_scope("Logits"):
            net = tf.reduce_mean(net, [1, 2], name="AvgPool_1a_8x8")
            net = end_points["PreLogitsFlatten"] = slim.dropout(net, dropout_keep_prob, scope="Dropout")
        net = slim.fully_connected(net, embedding_size, activation_fn=None, scope="Bottleneck")
        end_points["Bottleneck"] = net
        return net, end_points


def _repeat(net: tf.Tensor, count: int, block: Any, scope: str, name: str) -> tf.Tensor:
    with quiet_import_module("tensorflow").compat.v1.variable_scope(scope):
        for number in range(1, count + 1):
            net = block(net, f"{name}_{number}")
        return net


def facenet_arg_scope(weight_decay: float = 0.0, dtype: str = "float32") -> dict[Any, Any]:
    """The arg scope of facenet: every convolution with ReLU and a batch norm without gamma.

    Args:
        weight_decay: weight of the L2 loss on kernels.
        dtype: what the network computes in; the fused batch norm takes no float64.
    """
    slim, tf = import_slim(), quiet_import_module("tensorflow")
    batch_norm: dict[str, Any] = {
        "decay": BATCH_NORM_DECAY,
        "epsilon": BATCH_NORM_EPSILON,
        "updates_collections": None,
        # What facenet's Saver keeps is the trainable variables: the moving statistics are put among them.
        "variables_collections": [tf.compat.v1.GraphKeys.TRAINABLE_VARIABLES],
    }
    if dtype == "float64":
        batch_norm["fused"] = False
    with slim.arg_scope(
        [slim.conv2d, slim.fully_connected],
        weights_initializer=slim.initializers.xavier_initializer(),
        weights_regularizer=slim.l2_regularizer(weight_decay) if weight_decay else None,
        normalizer_fn=slim.batch_norm,
        normalizer_params=batch_norm,
    ) as scope:
        return dict(scope)


def build(
    variant: str,
    *,
    embedding_size: int,
    num_classes: int | None = None,
    include_top: bool = True,
    l2_normalize: bool = False,
    input_size: tuple[int, int] | int | None = 160,
    batch_size: int | None = None,
    dtype: str = "float32",
    is_training: bool = False,
    weight_decay: float = 0.0,
    scope: str = SCOPE,
) -> SlimNetwork:
    """Build the network in a graph of its own.

    Args:
        variant: name of the variant.
        embedding_size: number of values of the embedding.
        num_classes: width of the classifier that it is trained with; None for none.
        include_top: False leaves the classifier out.
        l2_normalize: give the embedding with length 1, as facenet's ``embeddings`` has it.
        input_size: height and width, one number for both, or None to leave them open.
        batch_size: images in a batch, or None to leave it open.
        dtype: ``float32`` or ``float64``.
        is_training: whether batch norm uses the batch's own statistics, and dropout drops.
        weight_decay: weight of the L2 loss on kernels.
        scope: variable scope of the network; the classifier stands outside of it.

    Returns:
        The network; its output is the classifier's where there is one, else the embedding.

    Raises:
        OptionError: an option that cannot be meant.
        MissingDependencyError: TensorFlow or tf_slim is not installed.
    """
    slim = import_slim()
    check_embedding_size(embedding_size)

    def network(images: tf.Tensor) -> tuple[tf.Tensor, EndPoints]:
        tf = quiet_import_module("tensorflow")
        with slim.arg_scope(facenet_arg_scope(weight_decay, dtype)):
            net, end_points = inception_resnet_v1(images, embedding_size, is_training, scope=scope)
            prelogits = net
            if l2_normalize:
                net = end_points["embeddings"] = tf.nn.l2_normalize(prelogits, 1, L2_EPSILON, name="embeddings")
            if include_top and num_classes:
                net = slim.fully_connected(
                    prelogits, num_classes, activation_fn=None, normalizer_fn=None, scope="Logits"
                )
                end_points["logits"] = net
            return net, end_points

    return SlimNetwork(network, scope=scope, input_size=input_size, batch_size=batch_size, dtype=dtype)


def check_embedding_size(embedding_size: int) -> None:
    """Refuse an embedding of no values.

    Raises:
        OptionError: the size is not positive.
    """
    if embedding_size < 1:
        raise OptionError("an embedding has at least one value", got=embedding_size)
