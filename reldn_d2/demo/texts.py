"""The texts of the demo's report."""

from reldn_d2.visualization.edges import FILL

from .models import BASELINE, FREQUENCY, WITHOUT_PIXELS

QUICK = (
    "This was a quick demo: a few steps of each training, on a few scenes. It shows that everything works. "
    "Its numbers and pictures mean nothing. `reldn demo` trains for real."
)
SCENES_ONLY = (
    "The weights of this demo know drawn scenes only: six classes and seven predicates, in one style. On "
    "photos they find nothing that makes sense."
)
MISTAKES = (
    "RelDN finds relationships between the entities of an image: <person, plays, guitar>. A model that is "
    f"trained with cross entropy alone ({BASELINE}) makes two mistakes. It mixes up neighbours who do the "
    "same thing: who plays which guitar? And it takes one instance of a class for another: who holds which "
    "cup? The three contrastive losses L1, L2 and L3 work against these mistakes."
)
ONE_SEED = (
    "All models on this page were trained once, with the same seed, on the same drawn scenes, and with the "
    "same detections of one frozen detector. So a difference between two models is an observation, not a "
    "proof: another seed gives other numbers. The intervals say only how much the choice of test scenes "
    "could change a difference (paired percentile bootstrap over scenes)."
)
CASES = (
    "The table says how many confusable cases each model solves when boxes and classes are given: the "
    "annotated triplet must get a higher score than every wrong one. Wrong is a musician with somebody "
    "else's guitar (proximity), or the same person with another cup (instance)."
)
CHANCE = (
    f"{WITHOUT_PIXELS} is a model that sees classes and boxes, but no pixels. Only the pixels show the "
    "answers, so it can only guess, and should solve about as many cases as random scores do (chance)."
)

# What `cases.chosen_scenes` does.
RULE = (
    "A rule chooses the scenes, so that nobody can pick the ones that look best. For each question, the "
    "first one shows the more frequent change: it is the first test scene that got better with all losses, "
    "if at least as many got better as worse, and otherwise the first that got worse. The second one is the "
    "first scene with the opposite change. Then the other scenes follow in their order, those with a "
    "change first."
)
CASE_PICTURES = (
    "The pictures show only what the question is about. For each case, the arrow is the triplet to which "
    "the model gives the highest score. It goes from the subject to the object, in the colour of the "
    "subject, and its label is the predicate. Boxes and classes are given."
)
MARKS = (
    ((FILL[None],), "annotated"),
    ((FILL[True],), "\N{CHECK MARK} right"),
    ((FILL[False],), "\N{BALLOT X} wrong"),
)
GRAPHS = (
    "The drawings below the pictures show whole scene graphs, with as many of the best predictions as "
    "there are annotated relationships. An entity has the same name and colour in all pictures and "
    "drawings of a scene."
)
FEATURE_MAPS = (
    "The last row shows where the backbones respond: the mean over the channels of the finest feature "
    "map, as in figures 4 and 5 of the paper. All models share the detector's backbone. Each has a "
    "predicate backbone of its own, which is trained with it."
)
FEATURE_MAP_COLOURS = "lowest to highest response of one map (colours of two maps can't be compared)"

RECALL = (
    "Recall is the share of the annotated relationships that are among the best 20 or 50 predictions. A "
    "scene has about six of them, so a list of twenty has room for wrong ones, too, and recall hardly "
    "shows the confusions."
)
RECALL_COLUMNS = (
    "prdcls: boxes and classes are given. sgdet: nothing is given. R: one predicate for each pair. ngR: "
    "any number of predicates for each pair."
)
FREQUENCY_ONLY = (
    f"{FREQUENCY} can stand above {WITHOUT_PIXELS}. It takes the most frequent predicate of two classes, "
    "which is the annotated one for nearly every pair of these scenes. Positions could help only where two "
    "classes have several predicates (a box is on or under a table), and there the small spatial module "
    "gains about as much as it loses."
)
PRECISION = (
    "The measures of OpenImages look at the order of the predictions more closely: a wrong triplet above a "
    "right one costs precision."
)
PRECISION_COLUMNS = (
    "wmAP: mean average precision, in which a predicate weighs as much as it is frequent, for "
    "relationships (rel) and for the box around both entities (phr). score_wtd = 0.2 R@50 + 0.4 wmAP_rel + "
    "0.4 wmAP_phr."
)
LOSSES = (
    "The curves are the losses by iteration: cross entropy (L0), the contrastive losses times their "
    "weights, and the sum of all; the legend has the last value of each."
)
SAMPLES = "Ten test scenes without drawings lie in the folder of samples. This finds their relationships:"
COMMANDS = (
    "These commands made everything on this page. The complete demo runs those after the first two in two "
    "processes side by side, if PyTorch has two threads."
)
